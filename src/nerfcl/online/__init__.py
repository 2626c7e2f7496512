"""Online learning from frames pushed by a program."""
