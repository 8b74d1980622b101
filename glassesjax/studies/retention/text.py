"""The text itself, each token on a ground that is the stronger the more layers still hold it."""

from glassesjax.report.markup import VISIBLE, Markup, element, escape, visible
from glassesjax.report.numbers import decimal, percent
from glassesjax.studies.retention.cells import Cell

MOST = 2048  # tokens that a page shows, the last ones
BREAK = "\N{ZERO WIDTH SPACE}"  # where a line may end; visible spaces allow no break


def held_text(cell: Cell) -> Markup:
    """The tokens in reading order, each with its number as a title.

    Args:
      cell: One policy with one number of slots.

    Returns:
      A ``div`` that wraps; white space and line ends are visible.
    """
    steps, held = cell.of_tokens("steps"), cell.of_tokens("held")
    first = max(cell.length - MOST, 0)
    spans = [
        _token(cell, at, float(steps[at]), float(held[at])) for at in range(first, cell.length)
    ]
    shown = element("div", *spans, class_="heard")
    cut = element("p", f"The last {MOST} of {cell.length} tokens.")
    return Markup(cut + shown) if first else shown


def _token(cell: Cell, position: int, steps: float, held: float) -> Markup:
    row = cell.tokens[position]
    text = str(row["token_text"])
    shown = Markup("".join(map(_character, text)))
    title = f"{position}, {row['class']}: {decimal(steps)} steps, held by {percent(held)}"
    style = f"--i:{held:.0%}" if held else "--i:0%"
    span = element("span", shown, title=title, style=style)
    return Markup(BREAK + span) if text[:1].isspace() else span


def _character(character: str) -> str:
    if character not in VISIBLE:
        return escape(visible(character))
    mark = element("i", VISIBLE[character])
    return mark + "\n" if character == "\n" else mark
