"""Number formats by name."""

import dataclasses
import difflib
import re
from collections.abc import Iterable

from glassesjax.borders import border
from glassesjax.errors import BadInput
from glassesjax.precision.formats import E4M3FN, E5M2, FORMATS, FloatFormat
from glassesjax.precision.scaled import (
    NAMED_SCALINGS,
    SCALED_FORMATS,
    Codes,
    NumberFormat,
    ScaledFormat,
    Scaling,
)

OTHER_NAMES: dict[str, str] = {
    "double": "f64",
    "fp64": "f64",
    "float64": "f64",
    "single": "f32",
    "fp32": "f32",
    "float32": "f32",
    "bfloat16": "bf16",
    "half": "f16",
    "fp16": "f16",
    "float16": "f16",
}
"""Common names that ``float_format`` understands beside those of ``FORMATS``."""
SATURATING = "_sat"  # behind the name of the format that saturates
_BLOCK, _INTEGER = r"block([1-9][0-9]{0,8})", r"int([2-8])"
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"


@border()
def float_format(name: str) -> FloatFormat:
    """The format of this name.

    Args:
      name: A key of ``FORMATS`` or of ``OTHER_NAMES``; or ``e5m10`` and the like, for any number of
        exponent and mantissa bits without zeros before it, with infinities, NaN and subnormal
        numbers. Each also with ``_sat`` behind it: the format that saturates.

    Returns:
      The format, under its own name.

    Raises:
      ValueError: There is no such format.
    """
    if (fmt := _parsed(name)) is None:
        known = f"{', '.join(FORMATS)} or e<E>m<M>, also with {SATURATING} behind it"
        raise _unknown(known, name, (*FORMATS, *OTHER_NAMES))
    return fmt


def _parsed(name: str) -> FloatFormat | None:
    """The float format of a name, or None where it is no such name."""
    bare = name.removesuffix(SATURATING)
    if (sizes := re.fullmatch(r"e([1-9][0-9]?)m([1-9][0-9]?)", bare)) and bare not in FORMATS:
        fmt = FloatFormat(bare, int(sizes[1]), int(sizes[2]))
    else:
        fmt = FORMATS.get(OTHER_NAMES.get(bare, bare))
    if fmt is None or bare == name:
        return fmt
    return dataclasses.replace(fmt, name=fmt.name + SATURATING, saturating=True)


def _unknown(expected: str, got: str, known: Iterable[str]) -> BadInput:
    """The error for a name that is none, with the nearest one that is.

    Args:
      expected: What names there are.
      got: The name.
      known: Names to compare it with.

    Returns:
      The exception.
    """
    if re.split(r"[*_]", got)[0] == "fp8":
        eights = f"{E4M3FN.name} or {E5M2.name}"
        return BadInput(f"Expected the 8-bit format by name, got {got!r}: write {eights} for fp8.")
    near = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of them."
    return BadInput(f"Expected FORMAT, a number format: {expected}; got {got!r}: {hint}")


@border()
def number_format(name: str) -> NumberFormat:
    """The float format or format with scales of this name.

    Args:
      name: What ``float_format`` understands; a key of ``SCALED_FORMATS``; or ``FORMAT*SCALE``, the
        format a float format's name or ``int2`` to ``int8``, the scale one of ``tensor``, ``row``,
        ``column``, ``block`` with a number of values (``block64``), ``mx``, ``nv``, ``nvrow``, or
        a power of two (``e4m3fn*256``).

    Returns:
      The format under its own name, so ``mxfp8`` for ``e4m3fn*mx``.

    Raises:
      ValueError: There is no such format.
    """
    if name in SCALED_FORMATS:
        return SCALED_FORMATS[name]
    text, star, scale = name.partition("*")
    if star and (element := _element(text, scale)) is not None:
        return _own(element, _scaling(scale, name))
    if not star and (fmt := _parsed(name)) is not None:
        return fmt
    known = f"{', '.join((*FORMATS, *SCALED_FORMATS))}, e<E>m<M> or FORMAT*SCALE"
    raise _unknown(known, name, _nearby(text, star + scale))


def _element(text: str, scale: str) -> FloatFormat | Codes | None:
    """The element of a name; integers of MX have one bit before their binary point."""
    if match := re.fullmatch(_INTEGER, text):
        bits = int(match[1])
        return Codes(bits, bits - 2 if scale == "mx" else 0)
    fmt = _parsed(text)
    if fmt is not None and fmt.saturating:  # as all elements do
        return dataclasses.replace(fmt, name=fmt.name.removesuffix(SATURATING), saturating=False)
    return fmt


def _scaling(text: str, name: str) -> Scaling:
    if text in NAMED_SCALINGS:
        return NAMED_SCALINGS[text]
    if match := re.fullmatch(_BLOCK, text):
        return Scaling("block", int(match[1]))
    if re.fullmatch(_NUMBER, text):
        return Scaling("fixed", factor=float(text))
    scales = f"{', '.join(NAMED_SCALINGS)}, block with a number or a power of two"
    raise BadInput(f"Expected a scale out of {scales} behind *, got {name!r}: choose one.")


def _own(element: FloatFormat | Codes, scaling: Scaling) -> ScaledFormat:
    """The format with a name of its own where there is one."""
    for fmt in SCALED_FORMATS.values():
        if (fmt.element, fmt.scaling) == (element, scaling):
            return fmt
    return ScaledFormat(f"{element.name}*{scaling.name}", element, scaling)


def _nearby(text: str, scale: str) -> list[str]:
    """Names that could have been meant, with the scale of the text where there is one."""
    if scale:
        return [name + scale for name in (*FORMATS, *OTHER_NAMES, "int8", "int4")]
    if re.fullmatch(_INTEGER, text):
        return [f"{text}*tensor"]  # one of the other widths has no scale in its name
    return [*FORMATS, *OTHER_NAMES, *SCALED_FORMATS]
