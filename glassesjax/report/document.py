"""The frame of a page: one HTML file with its styles inside."""

import importlib.resources
from collections.abc import Mapping
from importlib.resources.abc import Traversable

from glassesjax.report.markup import Markup, element, facts, fold


def document(title: str, body: Markup, *styles: Traversable) -> str:
    """An HTML document that needs nothing beside itself.

    Args:
      title: Of the window.
      body: The page's content.
      *styles: Style sheets of this page, after the one that all pages share.

    Returns:
      The text of the file.
    """
    shared = importlib.resources.files("glassesjax.report") / "page.css"
    style = "".join(sheet.read_text("utf-8") for sheet in (shared, *styles))
    head = (
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        element("style", Markup(style)),
    )
    page = element("html", element("head", *head), element("body", body), lang="en")
    return f"<!doctype html>\n{page}\n"


def glossary(terms: Mapping[str, str]) -> Markup:
    """The section that says what the page's words mean.

    Args:
      terms: Meanings by word.

    Returns:
      A section.
    """
    pairs = [(element("dt", name), element("dd", text)) for name, text in terms.items()]
    listed = element("dl", *(part for pair in pairs for part in pair))
    return element("section", element("h2", "Glossary"), listed)


def weights_of(row: Mapping[str, object]) -> dict[str, object]:
    """What identifies the model, which each row says beside the provenance of the process.

    Args:
      row: Any row of the run.

    Returns:
      The fields that are there.
    """
    names = ("model", "weights", "weights_sha256", "seed")
    return {name: row[name] for name in names if name in row}


def origin(settings: Mapping[str, object], provenance: Mapping[str, object]) -> Markup:
    """The section that closes a page: where its rows were made, and by which settings.

    Args:
      settings: What fixes the run, as in ``settings.json``.
      provenance: The record of the run, flat.

    Returns:
      A section with two tables, of which that of the settings is folded.
    """
    return element(
        "section",
        element("h2", "Where this was made"),
        facts(provenance),
        fold("Settings of the run", facts(settings)),
    )
