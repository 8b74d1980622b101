"""The text itself, each token on a ground that is the stronger the more layers still hold it."""

from glassesjax.report.markup import VISIBLE, Markup, element, escape, visible
from glassesjax.report.numbers import decimal, percent
from glassesjax.studies.retention.cells import Cell
from glassesjax.studies.retention.records import CLASS_TITLES, TokenRow

MOST = 2048  # tokens that a page shows, the last ones
BREAK = "\N{ZERO WIDTH SPACE}"  # where a line may end; visible spaces allow no break


def held_text(cell: Cell) -> Markup:
    """The tokens in reading order, each with its number as a title.

    Args:
      cell: One policy with one number of slots.

    Returns:
      A ``div`` that wraps; white space and line ends are visible.
    """
    first = max(cell.length - MOST, 0)
    spans = [_token(row) for row in cell.tokens[first:]]
    shown = element("div", *spans, class_="heard")
    cut = element("p", f"The last {MOST} of {cell.length} tokens.")
    return Markup(cut + shown) if first else shown


def _token(row: TokenRow) -> Markup:
    text, held, title = row.token_text, row.cached, CLASS_TITLES.get(row.word_class, row.word_class)
    shown = Markup("".join(map(_character, text)))
    title = f"{row.position}, {title}: {decimal(row.steps)} steps, held by {percent(held)}"
    style = f"--i:{held:.0%}" if held else "--i:0%"
    span = element("span", shown, title=title, style=style)
    return Markup(BREAK + span) if text[:1].isspace() else span


def _character(character: str) -> str:
    if character not in VISIBLE:
        return escape(visible(character))
    mark = element("i", VISIBLE[character])
    return mark + "\n" if character == "\n" else mark
