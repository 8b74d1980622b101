"""Texts of tokens, with what cannot be seen made visible."""

import unicodedata

VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


def visible(text: str) -> str:
    """Plain text with its white space and control characters made visible."""
    # Categories C and Z: control characters, unassigned ones, and separators.
    prints = lambda character: unicodedata.category(character)[0] not in "CZ"
    return "".join(VISIBLE.get(c, c if prints(c) else f"\\x{ord(c):02x}") for c in text)
