"""Statements of Barbero et al., arXiv 2406.04267v2, one file for each claim."""
