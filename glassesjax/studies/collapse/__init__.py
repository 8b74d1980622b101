"""The study collapse."""
