"""Statements of Transformers are Multi-State RNNs (arXiv 2401.06104), one file a claim."""
