"""The influence page: rows, figures and the text itself in one HTML file."""

import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

import numpy as np

from glassesjax.files import Row
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.markup import Markup, bullets, element, fold, picture
from glassesjax.report.models import FOUR_BITS, MODELS
from glassesjax.report.numbers import decimal, percent
from glassesjax.studies.influence import words
from glassesjax.studies.influence.figures import layers_figure, profile_figure
from glassesjax.studies.influence.profiles import MEASURES, Profiles, profiles_of
from glassesjax.studies.influence.sentences import (
    ATTENTION,
    decades,
    influence_headlines,
    norm_name,
    signed,
)
from glassesjax.studies.influence.summary import Spread, influence_summary
from glassesjax.studies.influence.tables import layer_table, passage_table, token_table
from glassesjax.studies.influence.text import Depth, colored_text, scale_bar


def influence_page(
    rows: Sequence[Row], settings: Mapping[str, object], provenance: Mapping[str, object]
) -> str:
    """One self-contained page on an influence run.

    Args:
      rows: Rows of the influence study; a kind of attention that was cut off is left out.
      settings: The study's settings, shown as they are.
      provenance: Where the rows were made, shown as it is.

    Returns:
      An HTML document without scripts, links or outside resources. The same rows give the same
      text.

    Raises:
      ValueError: There is no whole kind of attention.
    """
    every = profiles_of(rows)
    profiles = every[0]
    title = f"Influence of each token on the last representation of {_model(profiles)}"
    body = element(
        "main",
        _header(every, title),
        _tiles(rows, every),
        element("h2", "What the rows say"),
        bullets(influence_headlines(rows), "says"),
        element("h2", "Passages"),
        element("p", words.PASSAGES),
        passage_table(every),
        _text(profiles),
        _profile(rows, profiles),
        _layers(rows, profiles),
        glossary(words.GLOSSARY),
        _methods(profiles),
        origin(settings, {**weights_of(profiles.first_row), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body, importlib.resources.files("glassesjax.report") / "tokens.css")


def _model(profiles: Profiles) -> str:
    name = str(profiles.first_row["model"])
    return MODELS.get(name, PurePath(name).name)


def _header(every: Sequence[Profiles], title: str) -> Markup:
    row = every[0].first_row
    probes, count = row.get("probes"), len(every)
    counts = [f"{count} passages"] if count > 1 else []
    counts += [f"{every[0].length} tokens", f"{row['layers']} layers", f"width {row['width']}"]
    counts.append(f"{row['method']} with {probes} probes" if probes else str(row["method"]))
    counts += [f"positions {row['positions']}", str(row["dtype"])]
    return element(
        "header",
        element("p", "glassesjax · influence study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tiles(rows: Sequence[Row], every: Sequence[Profiles]) -> Markup:
    summary, profiles = influence_summary(rows), every[0]
    kind = profiles.kinds[0]
    tiles = [
        _tile(
            decimal(summary.effective[kind, name].median),
            f"of {profiles.length}{_range(summary.effective[kind, name], decimal)}",
            f"effective number of tokens, {MEASURES[name]}, {ATTENTION[kind]}",
        )
        for name in profiles.measures
    ]
    if summary.correlation:
        found = summary.correlation["frobenius"]
        said = "rank correlation of |J| with 1/|v|"
        tiles.append(_tile(signed(found.median), _range(found, signed), said))
    far = summary.distance[kind, "repaired"].embedding_median
    norm, unit = norm_name(profiles, kind), "" if np.isnan(far) else "decades"
    tiles.append(_tile(decades(far), unit, f"from {norm} to repaired bound, median"))
    return element("ul", *tiles, class_="tiles")


def _range(values: Spread, text: Callable[[float], str]) -> str:
    low, high = text(values.low), text(values.high)
    return "" if low == high else f" ({low} to {high})"


def _tile(figure: str, unit: str, said: str) -> Markup:
    shown = element("b", figure, " ", element("small", unit))
    return element("li", shown, element("span", said))


def _text(profiles: Profiles) -> Markup:
    names = [(kind, name) for kind in profiles.kinds for name in profiles.measures]
    depth = Depth.spanning(profiles.shares(*each)[0] for each in names)
    shown = [
        part
        for kind, name in names
        for part in (
            element("h3", f"{ATTENTION[kind].capitalize()}, {MEASURES[name]}"),
            colored_text(profiles, kind, depth, name),
        )
    ]
    heading = element("h2", "The text, colored by influence")
    text, offset = profiles.passage
    said = words.TEXT.format(passage=f"{text}, from character {offset}" if text else "1")
    return element("section", heading, element("p", said), scale_bar(depth), *shown)


def _profile(rows: Sequence[Row], profiles: Profiles) -> Markup:
    kind = profiles.kinds[0]
    norm = words.SPECTRAL if profiles.is_spectral(kind) else words.FROBENIUS
    caption = words.PROFILE_CAPTION.format(norm=norm, kind=ATTENTION[kind])
    label = "Influence of each position at the embedding, with rollout and bounds"
    tables = [
        fold(f"Table: tokens at the embedding, {ATTENTION[kind]}", token_table(profiles, kind))
        for kind in profiles.kinds
    ]
    shown = picture(profile_figure(rows), "profile", label, caption)
    return element("section", element("h2", "Position by position"), shown, *tables)


def _layers(rows: Sequence[Row], profiles: Profiles) -> Markup:
    label = "Share of the influence by layer and position"
    caption = words.LAYERS_CAPTION.format(kind=ATTENTION[profiles.kinds[0]])
    tables = [
        fold(f"Table: layers, {ATTENTION[kind]}", layer_table(profiles, kind))
        for kind in profiles.kinds
    ]
    shown = picture(layers_figure(rows), "layers", label, caption)
    return element("section", element("h2", "Layer by layer"), shown, *tables)


def _methods(profiles: Profiles) -> Markup:
    row = profiles.first_row
    said = [_how(profiles), *words.METHODS]
    weights = str(row.get("weights", ""))
    if "q4" in weights.lower():
        said.append(FOUR_BITS.format(weights=weights))
    return element("section", element("h2", "Methods and caveats"), bullets(said, "says"))


def _how(profiles: Profiles) -> str:
    kind, row = profiles.kinds[0], profiles.first_row
    if row["method"] == "exact":
        return words.EXACT.format(dtype=row["dtype"])
    errors = []
    for name in ("frobenius", "along"):
        relative = profiles.relative_errors(kind, name)[0]
        known = relative[~np.isnan(relative)]
        errors.append(percent(float(np.median(known)) if len(known) else np.nan))
    return words.ESTIMATED.format(probes=row["probes"], error=errors[0], along=errors[1])
