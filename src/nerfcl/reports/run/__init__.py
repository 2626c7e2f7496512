"""Figures, results and table of one run on tasks."""
