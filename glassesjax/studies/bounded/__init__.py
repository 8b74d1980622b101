"""The study bounded."""
