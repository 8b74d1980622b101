"""What claims share: decoders, ascents, enclosures in ball arithmetic."""
