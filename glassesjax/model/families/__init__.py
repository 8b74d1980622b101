"""Families of published models: their configurations and weight names, and ours."""
