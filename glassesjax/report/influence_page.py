"""The influence page: rows, figures and the text itself in one HTML file."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

import numpy as np

from glassesjax.records import Row
from glassesjax.report import influence_words as words
from glassesjax.report.document import document, glossary, origin, weights_of
from glassesjax.report.influence_figures import layers_figure, profile_figure
from glassesjax.report.influence_profiles import Profiles, effective_number
from glassesjax.report.influence_sentences import (
    ATTENTION,
    influence_headlines,
    norm_name,
    percent,
    told,
    typical_looseness,
)
from glassesjax.report.influence_tables import layer_table, token_table
from glassesjax.report.influence_text import Depth, colored_text, scale_bar
from glassesjax.report.markup import Markup, bullets, element, fold, picture
from glassesjax.report.page import MODELS


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
    profiles = Profiles(rows)
    title = f"What the last token hears in {_model(profiles)}"
    body = element(
        "main",
        _header(profiles, title),
        _tiles(profiles),
        element("h2", "What the rows say"),
        bullets(influence_headlines(rows), "says"),
        _text(profiles),
        _profile(rows, profiles),
        _layers(rows, profiles),
        glossary(words.GLOSSARY),
        _methods(profiles),
        origin(settings, {**weights_of(profiles.first_row), **provenance}),
        element("footer", "Made by glassesjax from the rows of this run; every number is theirs."),
    )
    return document(title, body, "influence.css")


def _model(profiles: Profiles) -> str:
    name = str(profiles.first_row["model"])
    return MODELS.get(name, PurePath(name).name)


def _header(profiles: Profiles, title: str) -> Markup:
    row = profiles.first_row
    probes = row.get("probes")
    counts = [f"{profiles.length} tokens", f"{row['layers']} layers", f"width {row['width']}"]
    counts.append(f"{row['method']} with {probes} probes" if probes else str(row["method"]))
    counts += [f"positions {row['positions']}", str(row["dtype"])]
    return element(
        "header",
        element("p", "glassesjax · influence study", class_="kicker"),
        element("h1", title),
        *(element("p", sentence, class_="lead") for sentence in words.LEAD),
        element("p", " · ".join(counts), class_="facts"),
    )


def _tiles(profiles: Profiles) -> Markup:
    kind = profiles.kinds[0]
    shares, with_kind = profiles.shares(kind)[0], f"with {ATTENTION[kind]}"
    over = int(profiles.exceeded(kind, "printed").sum())
    share_of = f"of the influence is the first token's, {with_kind}"
    undecided = int(profiles.judged(kind, "printed", "undecided").sum())
    decades = typical_looseness(profiles, "repaired")
    unknown = np.isnan(decades)
    looseness = "no number" if unknown else f"{decades:.{int(decades < 10)}f}"
    norm, open_at = norm_name(profiles, kind), f"undecided at {undecided}"
    return element(
        "ul",
        _tile(told(effective_number(shares)), f"of {profiles.length}", f"tokens heard {with_kind}"),
        _tile(percent(shares[0]), "", share_of),
        _tile(str(over), f"of {profiles.pairs}", f"printed bounds exceeded {with_kind}, {open_at}"),
        _tile(looseness, "" if unknown else "decades", f"from {norm} to repaired bound, median"),
        class_="tiles",
    )


def _tile(figure: str, unit: str, said: str) -> Markup:
    shown = element("b", figure, " ", element("small", unit))
    return element("li", shown, element("span", said))


def _text(profiles: Profiles) -> Markup:
    depth = Depth.spanning(profiles.shares(kind)[0] for kind in profiles.kinds)
    shown = [
        part
        for kind in profiles.kinds
        for part in (
            element("h3", ATTENTION[kind].capitalize()),
            colored_text(profiles, kind, depth),
        )
    ]
    heading = element("h2", "The text, colored by influence")
    return element("section", heading, element("p", words.TEXT), scale_bar(depth), *shown)


def _profile(rows: Sequence[Row], profiles: Profiles) -> Markup:
    exact = profiles.is_spectral(profiles.kinds[0])
    caption = words.PROFILE_CAPTION.format(norm=words.SPECTRAL if exact else words.FROBENIUS)
    label = "Influence of each position at the embedding, with rollout and bounds"
    tables = [
        fold(f"Table: tokens at the embedding, {ATTENTION[kind]}", token_table(profiles, kind))
        for kind in profiles.kinds
    ]
    shown = picture(profile_figure(rows), "profile", label, caption)
    return element("section", element("h2", "Position by position"), shown, *tables)


def _layers(rows: Sequence[Row], profiles: Profiles) -> Markup:
    label = "Share of the influence by layer and position"
    tables = [
        fold(f"Table: layers, {ATTENTION[kind]}", layer_table(profiles, kind))
        for kind in profiles.kinds
    ]
    shown = picture(layers_figure(rows), "layers", label, words.LAYERS_CAPTION)
    return element("section", element("h2", "Layer by layer"), shown, *tables)


def _methods(profiles: Profiles) -> Markup:
    row = profiles.first_row
    said = [_how(profiles), *words.METHODS]
    weights = str(row.get("weights", ""))
    if "q4" in weights.lower():
        said.append(words.FOUR_BITS.format(weights=weights))
    return element("section", element("h2", "Methods and caveats"), bullets(said, "says"))


def _how(profiles: Profiles) -> str:
    kind, row = profiles.kinds[0], profiles.first_row
    if row["method"] == "exact":
        return words.EXACT.format(dtype=row["dtype"])
    norms = profiles(kind, "frobenius")[0]
    relative = profiles(kind, "standard_error")[0] / np.where(norms > 0, norms, np.nan)
    known = relative[~np.isnan(relative)]
    error = percent(float(np.median(known)) if len(known) else np.nan)
    return words.ESTIMATED.format(probes=row["probes"], error=error)
