"""The influence page: rows, figures and the text itself in one HTML file."""

import importlib.resources
import math
from collections.abc import Callable
from pathlib import PurePath

from glassesjax.report.document import document, glossary, origin
from glassesjax.report.markup import Markup, bullets, element, fold, picture
from glassesjax.report.models import FOUR_BITS, MODELS
from glassesjax.report.numbers import decimal, percent
from glassesjax.runs.run import Run
from glassesjax.studies.influence import words
from glassesjax.studies.influence.figures import layers_figure, profile_figure
from glassesjax.studies.influence.profiles import MEASURES, Profiles, profiles_of
from glassesjax.studies.influence.records import InfluenceConstants, InfluenceRow
from glassesjax.studies.influence.sentences import (
    ATTENTION,
    decades,
    influence_headlines,
    norm_name,
    signed,
)
from glassesjax.studies.influence.summary import InfluenceSummary, Spread
from glassesjax.studies.influence.tables import layer_table, passage_table, token_table
from glassesjax.studies.influence.text import colored_text, scale_bar


def influence_page(run: Run[InfluenceRow, InfluenceConstants], summary: InfluenceSummary) -> str:
    """One self-contained page on an influence run.

    Args:
      run: A kind of attention that was cut off is left out.
      summary: What it comes down to.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There is no whole kind of attention.
    """
    profiles, constants = profiles_of(run)[0], run.constants
    title = f"Influence of each token on the last representation of {_model(constants)}"
    body = element(
        "main",
        _header(summary, constants, title),
        _tiles(summary),
        element("h2", "What the rows say"),
        bullets(influence_headlines(summary), "says"),
        element("h2", "Passages"),
        element("p", words.PASSAGES),
        passage_table(summary),
        _text(profiles, summary),
        _profile(profiles, summary),
        _layers(profiles, summary),
        glossary(words.GLOSSARY),
        _methods(summary, constants),
        origin(run.settings, run.made),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body, importlib.resources.files("glassesjax.report") / "tokens.css")


def _model(constants: InfluenceConstants) -> str:
    return MODELS.get(constants.model, PurePath(constants.model).name)


def _header(summary: InfluenceSummary, constants: InfluenceConstants, title: str) -> Markup:
    method, probes, count = constants.method, constants.probes, summary.num_passages
    counts = [f"{count} passages"] if count > 1 else []
    counts.append(f"{summary.passages[0].length} tokens")
    counts += [f"{constants.num_layers} layers", f"width {constants.model_dim}"]
    counts.append(f"{method} with {probes} probes" if probes else method)
    counts += [f"positions {constants.positions}", constants.dtype]
    return element(
        "header",
        element("p", "glassesjax · influence study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tiles(summary: InfluenceSummary) -> Markup:
    kind = summary.kind
    attention = summary.attention[kind]
    tiles = [
        _tile(
            decimal(effective.median),
            f"of {summary.passages[0].length}{_range(effective, decimal)}",
            f"effective number of tokens, {MEASURES[name]}, {ATTENTION[kind]}",
        )
        for name, effective in attention.effective.items()
    ]
    if summary.correlation:
        each = summary.correlation["frobenius"]
        text = "rank correlation of |J| with 1/|v|"
        tiles.append(_tile(signed(each.median), _range(each, signed), text))
    far = attention.bounds["repaired"].distance.embedding_median
    unit = "" if math.isnan(far) else "decades"
    text = f"from {norm_name(attention)} to repaired bound, median"
    tiles.append(_tile(decades(far), unit, text))
    return element("ul", *tiles, class_="tiles")


def _range(values: Spread, text: Callable[[float], str]) -> str:
    low, high = text(values.low), text(values.high)
    return "" if low == high else f" ({low} to {high})"


def _tile(figure: str, unit: str, text: str) -> Markup:
    shown = element("b", figure, " ", element("small", unit))
    return element("li", shown, element("span", text))


def _text(profiles: Profiles, summary: InfluenceSummary) -> Markup:
    depth = summary.colors
    shown = [
        part
        for kind in profiles.kinds
        for name in profiles.measures
        for part in (
            element("h3", f"{ATTENTION[kind].capitalize()}, {MEASURES[name]}"),
            colored_text(profiles, kind, depth, name),
        )
    ]
    heading = element("h2", "The text, colored by influence")
    text, offset = profiles.text, profiles.offset
    passage = f"Passage {text}, from character {offset}." if text else "Passage 1."
    intro = element("p", f"{passage} {words.TEXT}")
    return element("section", heading, intro, scale_bar(depth), *shown)


def _profile(profiles: Profiles, summary: InfluenceSummary) -> Markup:
    kind = summary.kind
    norm = words.SPECTRAL if summary.attention[kind].operator_norms else words.FROBENIUS
    caption = words.PROFILE_CAPTION.format(norm=norm, kind=ATTENTION[kind])
    label = "Influence of each position at the embedding, with rollout and bounds"
    tables = [
        fold(f"Table: tokens at the embedding, {ATTENTION[kind]}", token_table(profiles, kind))
        for kind in profiles.kinds
    ]
    shown = picture(profile_figure(profiles), "profile", label, caption)
    return element("section", element("h2", "Position by position"), shown, *tables)


def _layers(profiles: Profiles, summary: InfluenceSummary) -> Markup:
    label = "Share of the influence by layer and position"
    caption = words.LAYERS_CAPTION.format(kind=ATTENTION[summary.kind])
    tables = [
        fold(f"Table: layers, {ATTENTION[kind]}", layer_table(summary, kind))
        for kind in summary.attention
    ]
    shown = picture(layers_figure(profiles), "layers", label, caption)
    return element("section", element("h2", "Layer by layer"), shown, *tables)


def _methods(summary: InfluenceSummary, constants: InfluenceConstants) -> Markup:
    lines = [_how(summary, constants), *words.METHODS]
    weights = constants.weights or ""
    if "q4" in weights.lower():
        lines.append(FOUR_BITS.format(weights=weights))
    return element("section", element("h2", "Methods and caveats"), bullets(lines, "says"))


def _how(summary: InfluenceSummary, constants: InfluenceConstants) -> str:
    if constants.method == "exact":
        return words.EXACT.format(dtype=constants.dtype)
    error, along = (percent(summary.relative_error[name]) for name in ("frobenius", "along"))
    return words.ESTIMATED.format(probes=constants.probes, error=error, along=along)
