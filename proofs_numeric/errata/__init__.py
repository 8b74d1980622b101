"""Errata: printed statements that are false, one file for each."""
