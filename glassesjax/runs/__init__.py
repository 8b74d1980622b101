"""Runs of any study: rows, folders, provenance and results."""
