"""Strategies side by side: one set of summaries, and their tables and figures."""
