"""The study retention."""
