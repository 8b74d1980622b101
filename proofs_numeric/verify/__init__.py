"""The study verify: the claims as a run."""
