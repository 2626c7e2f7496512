"""One run over tasks: pictures, results, a table."""
