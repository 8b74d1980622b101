"""Statistics of measured values: intervals and ranks."""
