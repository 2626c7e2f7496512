"""The commands of nerfcl, and in `reference` the command lines of the reference project."""
