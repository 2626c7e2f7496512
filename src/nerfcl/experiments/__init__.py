"""Execution of descriptions: single runs, comparisons, watched folders; evaluation; making of scenes."""
