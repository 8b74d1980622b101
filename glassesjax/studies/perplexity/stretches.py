"""Segments of a window's positions: short ones first, then longer ones."""

FIRST_STRETCH, LONGEST_STRETCH = 64, 4096  # positions; doubling between the two


def stretch_start(position: int) -> int:
    """Start of the segment of a position: 0, 64, 128, ..., 4096, 8192, 12288 and so on.

    Args:
      position: From 0.
    """
    if position < FIRST_STRETCH:
        return 0
    if position < LONGEST_STRETCH:
        return 2 ** (position.bit_length() - 1)
    return position // LONGEST_STRETCH * LONGEST_STRETCH


def stretch_count(length: int) -> int:
    """Number of segments of a text's positions.

    Args:
      length: Tokens of the text, at least 1. A model's own opening, if it has one, may add a
        stretch.

    Returns:
      The number of different ``stretch_start`` of them.
    """
    last = length - 1
    # The first, those that double up to 4096, and those of 4096 beyond.
    doubled = max(min(last, LONGEST_STRETCH).bit_length() - FIRST_STRETCH.bit_length() + 1, 0)
    return 1 + doubled + max(last // LONGEST_STRETCH - 1, 0)
