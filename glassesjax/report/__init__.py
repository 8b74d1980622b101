"""Shared parts of pages: figure style, HTML, numbers and rankings as text, style sheet."""
