"""What is done with a description: one experiment, a comparison, a watched folder; evaluation; scenes that are made."""
