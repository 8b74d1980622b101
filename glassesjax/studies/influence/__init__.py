"""The study influence."""
