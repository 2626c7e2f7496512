"""A comparison as one web page that needs no other."""
