"""Comparison of two runs: settings, provenance and summaries."""
