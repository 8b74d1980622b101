"""The study perplexity."""
