"""Numbers as text."""

import math

TIMES = "\N{MULTIPLICATION SIGN}"
MISSING = "\N{EN DASH}"  # where a row has no number


def power_of(base: int, exponent: int) -> str:
    """A power in plain characters, which every font has, such as 10⁻³."""
    return f"{base}{str(exponent).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def number(value: float | None) -> str:
    """Two significant digits; a power of ten where plain digits would be long.

    Args:
      value: Any number; None where a row has none. A count, which is an int, has no decimals.

    Returns:
      Plain text, which shows all digits of whole numbers to 9999; a dash for none.
    """
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        few = abs(value) < 10 and value and not isinstance(value, int)
        text = f"{value:#.2g}".removesuffix(".") if few else f"{value:.0f}"
    else:
        digits, exponent = f"{value:.1e}".split("e")
        text = f"{digits} {TIMES} {power_of(10, int(exponent))}"
    return text.replace("-", "\N{MINUS SIGN}")


def times(value: float | str | None) -> str:
    """A factor, with a multiplication sign unless its power of ten has one.

    Args:
      value: Any number, or one that is a text already; None where a row has none.
    """
    text = value if isinstance(value, str) else number(value)
    plain = text not in (MISSING, "not finite") and TIMES not in text
    return f"{text}{TIMES}" if plain else text


def percent(share: float) -> str:
    """A share in percent: whole from ten on, with one digit below, and never a false zero.

    Args:
      share: From 0 to 1, or NaN.
    """
    if math.isnan(share):
        return "not finite"
    if 0 < share < 0.0005:  # one digit would round it to zero
        return "under 0.1%"
    # From 0.0995 on one digit would round to 10.0%.
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def size_text(num_bytes: int) -> str:
    """Bytes in the unit in which they are read, with three digits: ratios of them have two."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= size:
            amount = num_bytes / size
            digits = next((2 - at for at, end in enumerate((9.995, 99.95)) if amount < end), 0)
            return f"{amount:.{digits}f} {unit}"
    return f"{num_bytes} B"
