"""Tables of the influence page: the tokens at the embedding, and the layers."""

import numpy as np

from glassesjax.report.markup import Markup, element, table, token
from glassesjax.report.numbers import MISSING, decimal, percent
from glassesjax.studies.influence.profiles import BOUNDS, MEASURES, Bound, Profiles
from glassesjax.studies.influence.records import Kind
from glassesjax.studies.influence.summary import InfluenceSummary, LayerBound, LayerSummary

HALF = 128  # lines of a table of tokens, of first ones and of last ones


def passage_table(summary: InfluenceSummary) -> Markup:
    """A line for each passage and kind of attention: the effective numbers of tokens."""
    heads = ["text", "from character", "tokens", "attention"]
    heads += [f"effective number, {MEASURES[name]}" for name in summary.measures]
    lines = [
        [each.text, each.offset, each.length, kind, *map(decimal, effective.values())]
        for each in summary.passages
        for kind, effective in each.effective.items()
    ]
    return table(heads, lines)


def token_table(profiles: Profiles, kind: Kind) -> Markup:
    """A line for each token at the embedding, in order; of very many, for first and last ones."""
    every = range(profiles.length)
    kept = every if profiles.length <= 2 * HALF else [*every[:HALF], *every[-HALF:]]
    heads = ["position", "token", *(f"share, {MEASURES[name]}²" for name in profiles.measures)]
    heads += ["π", "|J|", "standard error", "|J v|", "standard error", "|v|"]
    heads += [
        "operator norm",
        "at least",
        "at most",
        "printed bound",
        "excess, decades",
        "repaired bound",
    ]
    body = table([*heads, "excess, decades"], [_token_line(profiles, kind, at) for at in kept])
    if len(kept) == profiles.length:
        return body
    return Markup(element("p", f"The first and the last {HALF} tokens.") + body)


def _token_line(profiles: Profiles, kind: Kind, position: int) -> list[object]:
    at = 0, position
    number = lambda name: profiles(kind, name)[at]
    measured = [decimal(number("frobenius")), *map(_or_missing, (number(n) for n in OPTIONAL))]
    return [
        position,
        token(profiles.tokens[position]),
        *(percent(profiles.shares(kind, name)[at]) for name in profiles.measures),
        percent(number("rollout")),
        *measured,
        decimal(number("at_least")),
        decimal(number("at_most")),
        *(cell for bound in BOUNDS for cell in _bound_cells(profiles, kind, bound, at)),
    ]


OPTIONAL = ("standard_error", "along", "along_standard_error", "input_norm", "spectral")


def _or_missing(value: float) -> str:
    return MISSING if np.isnan(value) else decimal(value)


def _bound_cells(profiles: Profiles, kind: Kind, bound: Bound, at: tuple[int, int]) -> list[object]:
    """The bound, and the decades from it to what was measured at least."""
    log, over = (profiles(kind, f"log10_{name}")[at] for name in (bound, f"over_{bound}"))
    excess = MISSING if np.isnan(over) else f"{over:+.1f}".replace("-", "\N{MINUS SIGN}")
    if profiles.exceeded(kind, bound)[at]:
        excess = element("span", f"{excess} exceeded", class_="exceeded")
    elif profiles.judged(kind, bound, "undecided")[at]:
        excess = f"{excess} undecided"
    elif profiles.judged(kind, bound, "not_finite")[at]:
        excess = "not finite"
    return [MISSING if np.isnan(log) else decimal(10.0 ** min(log, 300.0)), excess]


def layer_table(summary: InfluenceSummary, kind: Kind) -> Markup:
    """A line for each residual stream: effective numbers of tokens, and whether bounds hold."""
    heads = ["layer", *(f"effective number, {MEASURES[name]}" for name in summary.measures)]
    heads += ["first token, |J|²", f"last {summary.last_of_layers}, |J|²"]
    heads += ["attention's share", "largest norm"]
    heads += [
        f"{bound} bound {what}"
        for bound in BOUNDS
        for what in ("exceeded", "undecided", "excess, decades")
    ]
    return table(heads, [_layer_line(layer) for layer in summary.attention[kind].layers])


def _layer_line(layer: LayerSummary) -> list[object]:
    share = layer.attention_share
    return [
        layer.layer,
        *map(decimal, layer.effective.values()),
        percent(layer.first_share),
        percent(layer.last_share),
        MISSING if np.isnan(share) else percent(share),
        decimal(layer.largest_norm),
        *(cell for bound in BOUNDS for cell in _worst(layer.bounds[bound])),
    ]


def _worst(bound: LayerBound) -> list[object]:
    """At how many tokens it is exceeded, at how many undecided, and the largest excess."""
    worst = f"{bound.excess:+.1f}".replace("-", "\N{MINUS SIGN}")
    count = bound.exceeded
    exceeded = element("span", count, class_="exceeded") if count else count
    return [exceeded, bound.undecided, MISSING if np.isnan(bound.excess) else worst]
