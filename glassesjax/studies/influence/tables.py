"""Tables of the influence page: the tokens at the embedding, and the layers."""

from collections.abc import Sequence

import numpy as np

from glassesjax.report.markup import Markup, element, table, token
from glassesjax.report.numbers import MISSING, decimal, percent
from glassesjax.studies.influence.profiles import BOUNDS, MEASURES, Profiles, effective_number
from glassesjax.studies.influence.sentences import LAST

MOST = 256  # lines of a table of tokens


def passage_table(every: Sequence[Profiles]) -> Markup:
    """A line for each passage and kind of attention: the effective numbers of tokens."""
    heads = ["text", "from character", "tokens", "attention"]
    heads += [f"effective number, {MEASURES[name]}" for name in every[0].measures]
    lines = [
        [
            *profiles.passage,
            profiles.length,
            kind,
            *(
                decimal(effective_number(profiles.shares(kind, name)[0]))
                for name in profiles.measures
            ),
        ]
        for profiles in every
        for kind in profiles.kinds
    ]
    return table(heads, lines)


def token_table(profiles: Profiles, kind: str) -> Markup:
    """A line for each token at the embedding, in order; of very many, for first and last ones."""
    half, every = MOST // 2, range(profiles.length)
    kept = every if profiles.length <= MOST else [*every[:half], *every[-half:]]
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
    return Markup(element("p", f"The first and the last {half} tokens.") + body)


def _token_line(profiles: Profiles, kind: str, position: int) -> list[object]:
    at = 0, position
    number = lambda name: profiles(kind, name)[at]
    measured = [decimal(number("frobenius")), *map(_or_missing, (number(n) for n in OPTIONAL))]
    return [
        position,
        token(profiles.tokens[position]),
        *(percent(profiles.shares(kind, name)[at]) for name in profiles.measures),
        percent(number("pi")),
        *measured,
        decimal(number("at_least")),
        decimal(number("at_most")),
        *(cell for bound in BOUNDS for cell in _bound_cells(profiles, kind, bound, at)),
    ]


OPTIONAL = ("standard_error", "along", "along_standard_error", "input_norm", "spectral")


def _or_missing(value: float) -> str:
    return MISSING if np.isnan(value) else decimal(value)


def _bound_cells(profiles: Profiles, kind: str, bound: str, at: tuple[int, int]) -> list[object]:
    """The bound, and the decades from it to what was measured at least."""
    log, over = (profiles(kind, f"log10_{name}")[at] for name in (bound, f"over_{bound}"))
    excess = MISSING if np.isnan(over) else f"{over:+.1f}".replace("-", "\N{MINUS SIGN}")
    if profiles.exceeded(kind, bound)[at]:
        excess = element("span", f"{excess} exceeded", class_="exceeded")
    elif profiles.judged(kind, bound, "undecided")[at]:
        excess = f"{excess} undecided"
    elif profiles.judged(kind, bound, "not_a_number")[at]:
        excess = "not finite"
    return [MISSING if np.isnan(log) else decimal(10.0 ** min(log, 300.0)), excess]


def layer_table(profiles: Profiles, kind: str) -> Markup:
    """A line for each residual stream: effective numbers of tokens, and whether bounds hold."""
    heads = ["layer", *(f"effective number, {MEASURES[name]}" for name in profiles.measures)]
    heads += ["first token, |J|²", f"last {min(LAST, profiles.length)}, |J|²"]
    heads += ["attention's share", "largest norm"]
    heads += [
        f"{bound} bound {what}"
        for bound in BOUNDS
        for what in ("exceeded", "undecided", "excess, decades")
    ]
    return table(heads, [_layer_line(profiles, kind, layer) for layer in range(profiles.shape[0])])


def _layer_line(profiles: Profiles, kind: str, layer: int) -> list[object]:
    shares, norms = profiles.shares(kind)[layer], profiles(kind, "frobenius")[layer]
    last = min(LAST, profiles.length)
    share = profiles(kind, "share")[layer, 0]
    return [
        layer,
        *(decimal(effective_number(profiles.shares(kind, x)[layer])) for x in profiles.measures),
        percent(shares[0]),
        percent(shares[-last:].sum()),
        MISSING if np.isnan(share) else percent(share),
        decimal(norms.max()),
        *(cell for bound in BOUNDS for cell in _worst(profiles, kind, bound, layer)),
    ]


def _worst(profiles: Profiles, kind: str, bound: str, layer: int) -> list[object]:
    """At how many tokens it is exceeded, at how many undecided, and the largest excess."""
    over = profiles(kind, f"log10_over_{bound}")[layer]
    count, known = int(profiles.exceeded(kind, bound)[layer].sum()), over[~np.isnan(over)]
    worst = f"{known.max():+.1f}".replace("-", "\N{MINUS SIGN}") if len(known) else MISSING
    said = element("span", count, class_="exceeded") if count else count
    return [said, int(profiles.judged(kind, bound, "undecided")[layer].sum()), worst]
