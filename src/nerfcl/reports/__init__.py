"""What people look at: pictures, tables, pages, progress, event files.

Heavy libraries are imported inside the functions that use them.
"""
