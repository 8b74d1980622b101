"""The study recall."""
