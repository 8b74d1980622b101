"""The text itself, each token on a ground that is the stronger the larger its influence."""

import math

from glassesjax.report.markup import VISIBLE, Markup, element, escape, visible
from glassesjax.report.numbers import decimal, percent
from glassesjax.studies.influence.profiles import MEASURES, Measure, Profiles
from glassesjax.studies.influence.records import Kind
from glassesjax.studies.influence.scale import Depth

BREAK = "\N{ZERO WIDTH SPACE}"  # where a line may end; visible spaces allow no break


def colored_text(
    profiles: Profiles, kind: Kind, depth: Depth, measure: Measure = "frobenius"
) -> Markup:
    """The tokens in reading order, each with its number as a title.

    Args:
      profiles: A passage.
      kind: Which kind of attention.
      depth: The scale, the same for all texts of a page.
      measure: In which convention.

    Returns:
      A ``div`` that wraps; white space and line ends are visible.
    """
    shares, sizes = profiles.shares(kind, measure)[0], profiles.sizes(kind, measure)[0]
    errors = sizes * profiles.relative_errors(kind, measure)[0]
    name = MEASURES[measure]
    spans = [
        _token(text, position, depth.place(share), _said(name, share, size, error))
        for position, (text, share, size, error) in enumerate(
            zip(profiles.tokens, shares, sizes, errors, strict=True)
        )
    ]
    return element("div", *spans, class_="heard")


def scale_bar(depth: Depth) -> Markup:
    """What the grounds mean."""
    ends = [element("span", percent(end)) for end in depth]
    said = element("span", "share of the squares, logarithmic", class_="said")
    return element("p", ends[0], element("i"), ends[1], said, class_="scale")


def _said(name: str, share: float, size: float, error: float) -> str:
    spread = "" if math.isnan(error) else f" ± {decimal(error)}"
    return f"{percent(share)} of the squares, {name} {decimal(size)}{spread}"


def _token(text: str, position: int, place: float, said: str) -> Markup:
    shown = "".join(map(_character, text))
    title = f"position {position}, {visible(text)}: {said}"
    span = element("span", Markup(shown), title=title, style=f"--i:{place:.0%}")
    return Markup(BREAK + span) if text[:1].isspace() else span


def _character(character: str) -> str:
    if character not in VISIBLE:
        return escape(visible(character))
    mark = element("i", VISIBLE[character])
    return mark + "\n" if character == "\n" else mark
