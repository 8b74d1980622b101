"""Statements of Transformers need glasses! (arXiv 2406.04267v2), one file a claim."""
