"""What a sentence says, whatever its words: its numbers and names, in their order."""

import re

NEAR = 120  # characters between two of them


def says(text, *parts):
    """Whether these numbers and names stand in a text one after the other, each as a whole."""
    before, after = r"(?<![\w.,+\-\N{MINUS SIGN}])", r"(?![\w%+]|[.,]\d)"
    whole = [f"{before}{re.escape(str(part))}{after}" for part in parts]
    return re.search(f".{{0,{NEAR}}}?".join(whole), text, re.DOTALL) is not None
