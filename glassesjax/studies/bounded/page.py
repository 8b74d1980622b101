"""The bounded page: rows and figures as one HTML file that needs nothing beside itself."""

from collections.abc import Sequence
from pathlib import PurePath

from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, fold, picture, table
from glassesjax.report.models import MODELS
from glassesjax.report.numbers import MISSING
from glassesjax.runs.run import Run
from glassesjax.studies.bounded import words
from glassesjax.studies.bounded.figures import collapse_bounded_figure, influence_figure
from glassesjax.studies.bounded.panels import distance_panels, token_panels
from glassesjax.studies.bounded.records import BoundedConstants, DistanceRow, TokenRow
from glassesjax.studies.bounded.sentences import bounded_headlines
from glassesjax.studies.bounded.summary import BoundedSummary, RunsSummary, TextSummary


def bounded_page(
    run: Run[DistanceRow | TokenRow, BoundedConstants], summary: BoundedSummary
) -> str:
    """One self-contained page on a bounded run.

    Args:
      run: One that was cut off gives a page on what is there.
      summary: What it comes down to.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.
    """
    constants = run.constants
    title = f"Collapse and influence with a bounded state in {_model(constants)}"
    body = element(
        "main",
        _header(constants, title),
        element("h2", "What the rows say"),
        bullets(bounded_headlines(summary), "says"),
        *_collapse(run, summary),
        *_influence(run, summary),
        glossary(words.GLOSSARY),
        element("section", element("h2", "Methods and caveats"), bullets(words.METHODS, "says")),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _model(constants: BoundedConstants) -> str:
    return MODELS.get(constants.model, PurePath(constants.model).name)


def _header(constants: BoundedConstants, title: str) -> Markup:
    counts = [f"{constants.num_layers} layers", f"width {constants.model_dim}", constants.dtype]
    return element(
        "header",
        element("p", "glassesjax · bounded study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _collapse(
    run: Run[DistanceRow | TokenRow, BoundedConstants], summary: BoundedSummary
) -> list[Markup]:
    if not summary.runs:
        return []
    label = "Distance of runs of n and n + 1 against n, by policy"
    drawn = picture(
        collapse_bounded_figure(distance_panels(run.rows)), "runs", label, words.COLLAPSE_CAPTION
    )
    heads = ["positions", "family", "policy", "equal from n", "must from", "longest n", "distance"]
    shown = fold("Table: all runs", table(heads, [_runs(runs) for runs in summary.runs]))
    return [element("section", element("h2", "Collapse"), drawn, shown)]


def _runs(runs: RunsSummary) -> list[object]:
    return [
        runs.panel.positions,
        runs.panel.family,
        runs.panel.state,
        runs.equal_from or MISSING,
        runs.must_from or MISSING,
        runs.last,
        f"{runs.distance:.3g}",
    ]


def _influence(
    run: Run[DistanceRow | TokenRow, BoundedConstants], summary: BoundedSummary
) -> list[Markup]:
    texts = summary.texts
    if not texts:
        return []
    label = "Share of the influence by position, with who is held"
    drawn = picture(
        influence_figure(token_panels(run.rows)), "heard", label, words.INFLUENCE_CAPTION
    )
    heads = ["positions", "policy", "tokens", "held", "without a path", "share of the not held"]
    lines = [_text(text) for text in texts]
    shares = _by_layers(texts)
    return [element("section", element("h2", "Influence"), drawn, table(heads, lines), *shares)]


def _text(text: TextSummary) -> list[object]:
    return [
        text.panel.positions,
        text.panel.state,
        text.tokens,
        text.cached,
        text.without_path,
        f"{text.evicted.share:.2%}",
    ]


def _by_layers(texts: Sequence[TextSummary]) -> list[Markup]:
    """Influence by how many layers still have the token cached."""
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
    for text in texts:
        each = [f"{x.share:.1%} of {x.tokens}" if x.tokens else MISSING for x in text.by_layers]
        by_position = sorted(text.largest, key=lambda token: token.position)
        names = ", ".join(f"{x.text!r} at {x.position} ({x.share:.1%})" for x in by_position)
        lines.append([text.panel.positions, text.panel.state, *each, names or MISSING])
    return [
        element("h3", "Influence by how many layers still hold the token"),
        element("p", words.BY_LAYERS),
        table(heads, lines),
    ]
