"""Formulas as MathML, which browsers show without scripts or network."""

import re

from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from markupsafe import Markup, escape


def formula(tex: str) -> Markup:
    """A formula on a line of its own.

    Args:
      tex: LaTeX without dollars, of the kind that the documentation renders, too.

    Returns:
      The ``math`` element.

    Raises:
      ValueError: There is something in it that cannot be rendered.
    """
    return _mathml(tex, block=True)


def prose(text: str) -> Markup:
    """A sentence with LaTeX between dollars.

    Returns:
      The escaped text with ``math`` elements.

    Raises:
      ValueError: As for ``formula``.
    """
    parts = text.split("$")
    if len(parts) % 2 == 0:
        raise ValueError(f"Expected dollars in pairs, got {text!r}: close the formula.")
    # Odd pieces are inside dollars; the others are escaped, since Markup is trusted.
    pieces = [
        _mathml(part, block=False) if inside % 2 else escape(part)
        for inside, part in enumerate(parts)
    ]
    return Markup("".join(pieces))


def _mathml(tex: str, *, block: bool) -> Markup:
    try:
        # docutils knows \ldots and not \dots.
        lines = tex2mathml(re.sub(r"\\dots(?![a-z])", r"\\ldots", tex), as_block=block)
    except (MathError, AttributeError, IndexError, TypeError) as error:  # what its parser raises
        wanted = "Expected LaTeX that renders as MathML"
        raise ValueError(f"{wanted}, got {tex!r} ({error}): simplify it.") from error
    lines = lines.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")  # HTML needs none
    return Markup(re.sub(r">\s+<", "><", lines))
