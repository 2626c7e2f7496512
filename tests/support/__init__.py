"""What several test files need, once."""
