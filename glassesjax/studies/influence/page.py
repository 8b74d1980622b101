"""What the influence page shows, by the names of its template."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

from glassesjax.report.models import arithmetic_facts, model_name
from glassesjax.report.render import Plot, answer, page
from glassesjax.runs.run import Run
from glassesjax.studies.influence.charts import ATTENTION, faint_share, layers_shown
from glassesjax.studies.influence.profiles import MEASURES, Profiles
from glassesjax.studies.influence.records import InfluenceConstants, InfluenceRow
from glassesjax.studies.influence.summary import InfluenceSummary

WHOLE = 256  # tokens of the table; of more, the first and the last ones, since the data have all
HALF = 64  # how many of either
MOST = 300.0  # decades of a bound that is shown as a number
FIELDS: Mapping[str, str] = {"rollout": "rollout", "norm": "frobenius"}


def headline(summary: InfluenceSummary) -> str:
    """The run in a line."""
    return answer("glassesjax.studies.influence", summary)


def influence_page(
    run: Run[InfluenceRow, InfluenceConstants],
    summary: InfluenceSummary,
    profiles: Profiles,
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on an influence run.

    Returns:
      An HTML document that loads nothing from outside. The same rows give the same text.
    """
    known = run.constants
    model = model_name(known.model)
    first = summary.passages[0]
    shown = values(profiles)[: profiles.length]
    at = first.largest.position if first.largest else 0
    method = f"{known.method}, {known.probes} probes" if known.probes else known.method
    sizes = f"layers: {known.num_layers}, width {known.model_dim}"
    counts = f"passages: {summary.num_passages}", f"tokens: {first.length}", method
    # The strength of a token's ground: 0 where it has next to no influence, 1 where it has all.
    low, colored = faint_share(profiles), []
    for row in shown:
        text, share = profiles.tokens[row["position"]], row["share"] or 0.0
        depth = 1 - math.log(share) / math.log(low) if share > 0 else 0.0
        plain = text[1:] if text[:1] == " " and len(text) > 1 else text
        token = {"at": row["position"], "text": text, "plain": plain, "depth": max(0.0, depth)}
        colored.append(token)
    return page(
        "glassesjax.studies.influence",
        run=run,
        summary=summary,
        known=known,
        model=model,
        facts=[
            known.weights or model,
            sizes,
            f"positions {known.positions}",
            *arithmetic_facts(known.dtype, known.rounding),
            *counts,
        ],
        figures=figures,
        first=first,
        kinds=ATTENTION,
        measures={name: MEASURES[name] for name in summary.measures},
        bounds=profiles.bounds,
        layers=layers_shown(profiles),
        low=low,
        text=colored,
        chosen=shown[at],
        table=_table(profiles),
        cut=HALF if profiles.length > WHOLE else None,
    )


def values(profiles: Profiles) -> list[dict[str, Any]]:
    """The data behind the first figure: a row a layer and token, of the first kind of attention.

    Returns:
      Shares, rollout, norm, and decades from each bound to what was measured; none for what is not
      finite.
    """
    # The slider has one kind of attention; the tables have both.
    kind = profiles.kinds[0]
    arrays = {name: profiles.shares(kind, name) for name in profiles.measures}
    arrays = {"share" if name == "frobenius" else name: each for name, each in arrays.items()}
    arrays |= {name: profiles(kind, field) for name, field in FIELDS.items()}
    arrays |= {bound: profiles(kind, f"log10_over_{bound}") for bound in profiles.bounds}
    return [
        {
            "layer": layer,
            "position": at,
            **{name: _known(float(f"{each[layer, at]:.3g}")) for name, each in arrays.items()},
        }
        for layer in layers_shown(profiles)
        for at in range(profiles.length)
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _table(profiles: Profiles) -> list[dict[str, Any]]:
    """Each token at the embedding, for each kind of attention; of very many the ends."""
    every, lines = range(profiles.length), []
    kept = every if profiles.length <= WHOLE else [*every[:HALF], *every[-HALF:]]
    optional = "standard_error", "along", "along_standard_error", "input_norm", "spectral"
    for kind, at in itertools.product(profiles.kinds, kept):
        number = lambda name, k=kind, at=at: float(profiles(k, name)[0, at])
        lines.append(
            {name: number(name) for name in ("frobenius", "at_least", "at_most")}
            | {name: _known(number(name)) for name in optional}
            | {
                "kind": kind,
                "position": at,
                "text": profiles.tokens[at],
                "shares": [float(profiles.shares(kind, m)[0, at]) for m in profiles.measures],
                "rollout": number("rollout"),
                "bounds": [
                    {
                        "value": _known(10.0 ** min(number(f"log10_{bound}"), MOST)),
                        "over": _known(number(f"log10_over_{bound}")),
                        "verdict": profiles.verdict(kind, bound, 0, at),
                    }
                    for bound in profiles.bounds
                ],
            }
        )
    return lines
