"""Live output of runs: progress in the terminal, and TensorBoard events."""
