"""What differs between two runs: settings, and what they come down to."""
