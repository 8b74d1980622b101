"""The study longform."""
