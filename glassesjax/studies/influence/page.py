"""What the influence page shows, by the names of its template."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from glassesjax.report.models import model_name
from glassesjax.report.render import Plot, answer, page
from glassesjax.runs.run import Run
from glassesjax.studies.influence.charts import ATTENTION, faint_share, layers_shown
from glassesjax.studies.influence.profiles import BOUNDS, MEASURES, Measure, Profiles
from glassesjax.studies.influence.records import InfluenceConstants, InfluenceRow, Kind
from glassesjax.studies.influence.summary import InfluenceSummary

WHOLE = 256  # tokens of the table; of more, the first and the last ones, since the data have all
HALF = 64  # how many of either
MOST = 300.0  # decades of a bound that is shown as a number
FIELDS: Mapping[str, str] = {
    "rollout": "rollout", "norm": "frobenius", "printed": "log10_over_printed",
    "repaired": "log10_over_repaired",
}  # fmt: skip


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
      An HTML document that asks for nothing outside it. The same rows give the same text.
    """
    known = run.constants
    model = model_name(known.model)
    first = summary.passages[0]
    shown = values(profiles)[: profiles.length]
    at = first.largest.position if first.largest else 0
    return page(
        "glassesjax.studies.influence",
        run=run,
        summary=summary,
        known=known,
        model=model,
        facts=_facts(summary, known, model),
        figures=figures,
        first=first,
        kinds=ATTENTION,
        measures={name: MEASURES[name] for name in summary.measures},
        bounds=BOUNDS,
        layers=layers_shown(profiles),
        low=faint_share(profiles),
        text=[_colored(profiles, row) for row in shown],
        chosen=shown[at],
        table=_table(profiles),
        cut=HALF if profiles.length > WHOLE else None,
    )


def _facts(summary: InfluenceSummary, known: InfluenceConstants, model: str) -> list[str]:
    count = f"passages: {summary.num_passages}"
    tokens = f"tokens: {summary.passages[0].length}"
    method = f"{known.method}, {known.probes} probes" if known.probes else known.method
    sizes = f"layers: {known.num_layers}, width {known.model_dim}"
    return [known.weights or model, sizes, f"positions {known.positions}", count, tokens, method]


def values(profiles: Profiles) -> list[dict[str, Any]]:
    """The data behind the first figure: a row a layer and token, of the first kind of attention.

    Returns:
      Shares, rollout, norm, and decades from each bound to what was measured; none for what is not
      finite.
    """
    kind = profiles.kinds[0]
    arrays = {name: profiles.shares(kind, name) for name in profiles.measures}
    arrays = {"share" if name == "frobenius" else name: each for name, each in arrays.items()}
    arrays |= {name: profiles(kind, field) for name, field in FIELDS.items()}
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


def _colored(profiles: Profiles, row: Mapping[str, Any]) -> dict[str, Any]:
    """A token of the text with the strength of its ground, in percent."""
    text, share = profiles.tokens[row["position"]], row["share"] or 0.0
    depth = 1 - math.log(share) / math.log(faint_share(profiles)) if share > 0 else 0.0
    plain = text[1:] if text[:1] == " " and len(text) > 1 else text
    return {"at": row["position"], "text": text, "plain": plain, "depth": max(0.0, depth)}


def _table(profiles: Profiles) -> list[dict[str, Any]]:
    """Each token at the embedding, for each kind of attention; of very many the ends."""
    every = range(profiles.length)
    kept = every if profiles.length <= WHOLE else [*every[:HALF], *every[-HALF:]]
    return [_line(profiles, kind, at) for kind in profiles.kinds for at in kept]


def _line(profiles: Profiles, kind: Kind, position: int) -> dict[str, Any]:
    number: Callable[[str], float] = lambda name: float(profiles(kind, name)[0, position])
    optional = "standard_error", "along", "along_standard_error", "input_norm", "spectral"
    measured: dict[str, Any] = {name: number(name) for name in ("frobenius", "at_least", "at_most")}
    measured |= {name: _known(number(name)) for name in optional}
    share: Callable[[Measure], float] = lambda name: float(profiles.shares(kind, name)[0, position])
    return measured | {
        "kind": kind,
        "position": position,
        "text": profiles.tokens[position],
        "shares": [share(name) for name in profiles.measures],
        "rollout": number("rollout"),
        "bounds": [
            {
                "value": _known(10.0 ** min(number(f"log10_{bound}"), MOST)),
                "over": _known(number(f"log10_over_{bound}")),
                "verdict": profiles.verdict(kind, bound, 0, position),
            }
            for bound in BOUNDS
        ],
    }
