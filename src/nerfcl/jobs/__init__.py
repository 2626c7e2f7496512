"""Execution of many jobs: sequentially, in local processes, or on a Ray cluster."""
