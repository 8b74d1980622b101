"""The bounded page: rows and figures as one HTML file that needs nothing beside itself."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.fields import integer, measured
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING
from glassesjax.studies.bounded import words
from glassesjax.studies.bounded.figures import collapse_bounded_figure, heard_figure
from glassesjax.studies.bounded.panels import Panel, panels
from glassesjax.studies.bounded.sentences import (
    bounded_headlines,
    evicted_share,
    first_equal,
    held_shares,
    loudest_dropped,
)


def bounded_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on a bounded run.

    Args:
      rows: Rows of the bounded study; a run that was cut off gives a page on what is there.
      settings: The study's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There is no row of the bounded study.
    """
    found = [row for row in rows if row.get("study") == "bounded"]
    if not found:
        seen = f"found none among {len(rows)}"
        raise ValueError(f"Wanted rows of the bounded study; {seen}: run the study first.")
    title = f"Collapse and influence with a bounded state in {_model(found[0])}"
    body = element(
        "main",
        _header(found[0], title),
        element("h2", "What the rows say"),
        bullets(bounded_headlines(found), "says"),
        *_collapse(found),
        *_influence(found),
        glossary(words.GLOSSARY),
        element("section", element("h2", "Methods and caveats"), bullets(words.METHODS, "says")),
        origin(settings, {**weights_of(found[0]), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _model(row: Row) -> str:
    name = str(row["model"])
    return MODELS.get(name, PurePath(name).name)


def _header(row: Row, title: str) -> Markup:
    counts = [f"{row['layers']} layers", f"width {row['width']}", str(row["dtype"])]
    return element(
        "header",
        element("p", "glassesjax · bounded study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _collapse(rows: Sequence[Row]) -> list[Markup]:
    found = panels(rows, "collapse")
    if not found:
        return []
    label = "Distance of runs of n and n + 1 against n, by policy"
    drawn = picture(collapse_bounded_figure(rows), "runs", label, words.COLLAPSE_CAPTION)
    heads = ["positions", "family", "policy", "equal from n", "must from", "longest n", "distance"]
    lines = [
        [
            panel.positions,
            panel.family,
            panel.state,
            first_equal(mine) or MISSING,
            mine[-1].get("equal_from") or MISSING,
            mine[-1]["length"],
            f"{measured(mine[-1], 'distance'):.3g}",
        ]
        for panel, mine in found.items()
    ]
    shown = fold("Table: all runs", table(heads, lines))
    return [element("section", element("h2", "Collapse"), drawn, shown)]


def _influence(rows: Sequence[Row]) -> list[Markup]:
    found = panels(rows, "influence")
    if not found:
        return []
    label = "Share of the influence by position, with who is held"
    drawn = picture(heard_figure(rows), "heard", label, words.INFLUENCE_CAPTION)
    heads = ["positions", "policy", "tokens", "held", "without a path", "share of the not held"]
    lines = [
        [
            panel.positions,
            panel.state,
            len(mine),
            sum(bool(row["held_layers"]) for row in mine),
            sum(not row["reaches"] for row in mine),
            f"{evicted_share(mine):.2%}",
        ]
        for panel, mine in found.items()
    ]
    shares = _by_layers(found)
    return [element("section", element("h2", "Influence"), drawn, table(heads, lines), *shares)]


def _by_layers(found: Mapping[Panel, Sequence[Row]]) -> list[Markup]:
    """Who is heard by how many layers still hold the token."""
    heads = [
        "positions",
        "policy",
        "no layer",
        "to 1/4",
        "to 1/2",
        "to 3/4",
        "to all",
        "largest three",
    ]
    lines = []
    for panel, mine in found.items():
        each = [
            f"{share:.1%} of {count}" if count else MISSING for count, share in held_shares(mine)
        ]
        gone = sorted(loudest_dropped(mine), key=lambda row: integer(row, "position"))
        named = ", ".join(
            f"{row['token_text']!r} at {row['position']} ({measured(row, 'squared_share'):.1%})"
            for row in gone
        )
        lines.append([panel.positions, panel.state, *each, named or MISSING])
    return [
        element("h3", "Influence by how many layers still hold the token"),
        element("p", words.BY_LAYERS),
        table(heads, lines),
    ]
