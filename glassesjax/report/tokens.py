"""Texts of tokens, with what cannot be seen made visible."""

import unicodedata

VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


def visible(text: str) -> str:
    """Plain text with its white space and control characters made visible."""
    return "".join(VISIBLE.get(c, c if _prints(c) else f"\\x{ord(c):02x}") for c in text)


def _prints(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ"
