"""Numerical proofs: one file a statement, each an inequality that somebody tried to break."""
