"""What pages of all studies share: the base template, macros, style sheet and script."""
