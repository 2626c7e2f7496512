"""A comparison as a self-contained HTML report."""
