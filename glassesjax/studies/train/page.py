"""The train page: what was learned, and how far it goes, in one HTML file."""

import math
from collections.abc import Mapping, Sequence

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin
from glassesjax.report.fields import not_finite
from glassesjax.report.markup import Markup, bullets, element, format_name, picture, table
from glassesjax.report.numbers import MISSING
from glassesjax.studies.train.cells import RIGHT, answered, learned, losses, reach
from glassesjax.studies.train.failing_sentences import FAILING, failing_section
from glassesjax.studies.train.figures import lengths_figure, losses_figure
from glassesjax.studies.train.heard_sentences import (
    heard_headlines,
    heard_section,
    ratio_section,
    words_of,
)

LEAD = (
    "Small decoders learn a task whose exact answer is known, at some lengths. Then they answer at"
    " those lengths and far beyond, with each of their intermediate values rounded to a format.",
)
GLOSSARY = {
    "right": "The whole answer is right: each of its tokens is ranked first, alone, given the right"
    " ones before it. Greedy writing would give that answer. A tie is no answer.",
    "margin": "The smallest lead of a right token's score over the next one's, over examples and"
    " seeds; negative where one was wrong.",
    "learned": f"At least {RIGHT:.0%} of the answers are right, the mean over seeds.",
}
METHODS = (
    "Formats are simulated: arithmetic is in float32, and every stored value is rounded, weights"
    " included. Weights were trained as the settings say.",
    "Examples of an evaluation are drawn apart from those of the training, but a short item has few"
    " forms and was seen.",
)


def train_headlines(rows: Sequence[Row]) -> list[str]:
    """What the rows say, a sentence each.

    Args:
      rows: Rows of the train study.

    Returns:
      Sentences in plain text.
    """
    first, mixed = rows[0], learned(rows)
    seen = f"lengths {first['shortest']} to {first['longest']} as in training ({first['mix']})"
    said = [*not_finite(rows), f"{seen.capitalize()}."]
    for name, curve in answered(rows).items():
        lost = [math.isnan(point.loss) for point in (mixed[name], *curve)]
        if any(lost):
            said.append(f"{name}: the loss is not finite, at {sum(lost)} of {len(lost)} lengths.")
            continue
        far = reach(curve)
        ends = "at none" if far is None else f"up to {far}"
        said.append(
            f"{name}: {mixed[name].mean:.1%} right in distribution; of the tested lengths up to"
            f" {curve[-1].length} learned {ends}."
        )
    return [*said, *heard_headlines(rows)]


def train_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on a run of the training.

    Args:
      rows: Rows of the train study.
      settings: The study's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("Wanted rows of the train study; found none.")
    title = f"What a small decoder learns of {rows[0]['task']}"
    body = element(
        "main",
        _header(rows, title),
        element("h2", "What the rows say"),
        bullets(train_headlines(rows), "says"),
        element("h2", "Beyond the training"),
        picture(
            lengths_figure(rows),
            "lengths",
            "Share of right answers against the length, by format",
            "Share of right answers, the mean over seeds, and their range. Shaded: the lengths of"
            " the training.",
        ),
        _table(rows),
        failing_section(rows),
        heard_section(rows),
        ratio_section(rows),
        element("h2", "Training"),
        picture(
            losses_figure(rows),
            "losses",
            "Loss against the step",
            f"Mean loss over the tokens that are scored, by seed ({len(losses(rows))}).",
        ),
        glossary({**GLOSSARY, **FAILING, **words_of(rows)}),
        element("section", element("h2", "Methods and caveats"), bullets(METHODS, "says")),
        origin(settings, provenance),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body)


def _header(rows: Sequence[Row], title: str) -> Markup:
    row = rows[0]
    counts = [f"{row['layers']} layers", f"{row['heads']} heads", f"width {row['width']}"]
    counts += [f"{name} {row[name]}" for name in ("positions", "mask", "temperature")]
    counts += [f"{name} {row[name]}" for name in ("remedy", "arithmetic")]
    counts += [f"lengths {row['shortest']} to {row['longest']}, {row['mix']}"]
    return element(
        "header",
        element("p", "glassesjax · train study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _table(rows: Sequence[Row]) -> Markup:
    curves = answered(rows)
    lengths = sorted({point.length for curve in curves.values() for point in curve})
    lines = []
    for length in lengths:
        found = [{p.length: p for p in curve}.get(length) for curve in curves.values()]
        told = (MISSING if p is None else f"{p.mean:.1%} ({p.margin:.3g})" for p in found)
        lines.append([length, *told])
    mixed = learned(rows)
    shares = (f"{mixed[name].mean:.1%} ({mixed[name].margin:.3g})" for name in curves)
    lines.insert(0, ["as in training", *shares])
    heads = ["length", *(format_name(name) for name in curves)]
    told = element("p", "Right answers at each length; in brackets the margin.")
    return element("section", told, table(heads, lines))
