"""The study generate."""
