"""How far a run has come, while it runs: progress in the terminal, event files for TensorBoard."""
