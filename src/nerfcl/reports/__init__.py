"""Output for people: figures, tables, HTML reports, progress, TensorBoard events.

Heavy libraries are imported inside the functions that use them.
"""
