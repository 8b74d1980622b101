"""How the tokens of a vocabulary are spelled: from their names to bytes."""

import re
from typing import Literal

Spelling = Literal["byte_level", "sentencepiece", "plain"]
"""``byte_level``: a character for each byte. ``sentencepiece``: text, with a mark for a space and
names for single bytes. ``plain``: text."""

# Byte-level vocabularies write each byte as a character that prints: itself, or one from 256 on.
PRINTED = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
HIDDEN = tuple(byte for byte in range(256) if byte not in PRINTED)
BYTES = {chr(byte): byte for byte in PRINTED} | {chr(256 + i): b for i, b in enumerate(HIDDEN)}
SPACE = "\u2581"  # a space in the names of a SentencePiece vocabulary
BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # a single byte in them


def byte_name(byte: int) -> str:
    """The name of a single byte in a SentencePiece vocabulary.

    Args:
      byte: From 0 to 255.

    Returns:
      Its name.
    """
    return f"<0x{byte:02X}>"


def spelled(name: str, spelling: Spelling) -> bytes:
    """The bytes that a token stands for in a text.

    Args:
      name: Its name in the vocabulary.
      spelling: How the vocabulary is spelled.

    Returns:
      Its bytes, not always whole characters; UTF-8 of the name where that follows no rule.
    """
    if spelling == "byte_level" and all(character in BYTES for character in name):
        return bytes(BYTES[character] for character in name)
    if spelling == "sentencepiece":
        byte = BYTE.fullmatch(name)
        return bytes([int(byte[1], 16)]) if byte else name.replace(SPACE, " ").encode()
    return name.encode()
