"""Pieces of an HTML page as text: whatever comes from data is escaped here."""

import html
import unicodedata
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from glassesjax.report.canvas import color, to_svg
from glassesjax.report.numbers import MISSING

VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Text for a page; what is markup already stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text)))


def element(tag: str, *content: object, **attributes: str) -> Markup:
    """An element with escaped content; a trailing underscore of an attribute's name is dropped."""
    pairs = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    opening = " ".join([tag, *(f'{name}="{html.escape(value)}"' for name, value in pairs if value)])
    return Markup(f"<{opening}>{''.join(map(escape, content))}</{tag}>")


def token(text: str) -> Markup:
    """A token's text with its white space and control characters made visible."""
    return element("code", visible(text)) if text else escape(MISSING)


def visible(text: str) -> str:
    """Plain text with its white space and control characters made visible."""
    return "".join(VISIBLE.get(c, c if _prints(c) else f"\\x{ord(c):02x}") for c in text)


def _prints(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ"


def format_name(name: str) -> Markup:
    """A format's name beside its color in the figures."""
    return Markup(
        element("span", class_="swatch", style=f"background:{color(name)}") + escape(name)
    )


def picture(figure: Figure, name: str, label: str, caption: str) -> Markup:
    """A figure with its caption.

    Args:
      figure: What to show.
      name: Different for each figure of a page; letters, digits and hyphens.
      label: What a reader who cannot see it should know.
      caption: How to read it.

    Returns:
      The ``figure`` element.
    """
    svg = to_svg(figure, name).replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    return element("figure", Markup(svg), element("figcaption", caption))


def table(heads: Sequence[object], lines: Sequence[Sequence[object]]) -> Markup:
    """A table that scrolls where it is too wide.

    Args:
      heads: One for each column.
      lines: Cells of each line, as many as heads; the first names the line.

    Returns:
      A ``div`` with the table.
    """
    head = element("tr", *(element("th", head, scope="col") for head in heads))
    body = [
        element("tr", element("th", line[0], scope="row"), *(element("td", c) for c in line[1:]))
        for line in lines
    ]
    content = element("table", element("thead", head), element("tbody", *body))
    return element("div", content, class_="scroll", tabindex="0")


def facts(values: Mapping[str, object]) -> Markup:
    """Names and values, a line each; a list in one cell, and a dash for none and for no text."""
    joined = lambda value: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    text = lambda value: MISSING if joined(value) in ("", None) else joined(value)
    body = [
        element(
            "tr", element("th", name.replace("_", " "), scope="row"), element("td", text(value))
        )
        for name, value in values.items()
    ]
    return element("div", element("table", *body, class_="facts-table"), class_="scroll")


def bullets(items: Sequence[str], class_: str) -> Markup:
    """A list of sentences, in which “n = 8” stays on one line.

    Args:
      items: Plain text; not HTML.
      class_: Of the ``ul`` element, for the style sheet.

    Returns:
      The element.
    """
    whole = [item.replace("n = ", "n\u00a0=\u00a0") for item in items]
    return element("ul", *(element("li", item) for item in whole), class_=class_)


def fold(title: str, *content: object) -> Markup:
    """Content that a reader opens."""
    return element("details", element("summary", title), *content)
