"""Statements of later papers and of our own that extend these, one file a claim."""
