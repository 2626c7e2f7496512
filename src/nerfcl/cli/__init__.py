"""The commands of nerfcl; in `reference`, the command lines of the reference project."""
