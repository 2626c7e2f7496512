"""Strategies side by side: one set of summaries, and tables and pictures of them."""
