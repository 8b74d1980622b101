"""Reproductions of the papers' figures, one file for each."""
