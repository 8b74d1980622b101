"""Helpers of claims: decoders, gradient ascent, enclosures in ball arithmetic."""
