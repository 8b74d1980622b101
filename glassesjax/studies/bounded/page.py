"""What the bounded page shows, by the names of its template."""

from collections.abc import Mapping
from typing import Any

from glassesjax.report.colors import policy_color
from glassesjax.report.models import arithmetic_facts, model_name
from glassesjax.report.render import Plot, answer, page
from glassesjax.runs.run import Run
from glassesjax.studies.bounded.charts import Look, series
from glassesjax.studies.bounded.records import BoundedConstants, DistanceRow, TokenRow
from glassesjax.studies.bounded.summary import BoundedSummary, TextSummary
from glassesjax.tasks.sequences import FAMILIES

LAYERS = ("", "to ¼", "to ½", "to ¾", "to all")
"""What the columns of ``by_layers`` are called; those that no cache fills are left out."""


def headline(summary: BoundedSummary) -> str:
    """The run in a line."""
    return answer("glassesjax.studies.bounded", summary)


def bounded_page(
    run: Run[DistanceRow | TokenRow, BoundedConstants],
    summary: BoundedSummary,
    look: Look,
    figures: Mapping[str, Plot],
) -> str:
    """One self-contained page on a bounded run.

    Returns:
      An HTML document that loads nothing from outside. The same rows give the same text.
    """
    known = run.constants
    model = model_name(known.model)
    method = f"{known.method}, {known.probes} probes" if known.probes else known.method
    sizes = f"layers: {known.num_layers}, width {known.model_dim}"
    names = [each.replace("_", " ") for each in look.positions]
    positions = f"{len(names)} positional encodings" if len(names) > 1 else f"positions {names[0]}"
    # A cache under an encoding, with its text and its runs by family.
    records: dict[tuple[str, str], dict[str, Any]] = {}
    for each in (*summary.texts, *summary.runs):
        at = each.panel.positions, each.panel.state
        record = records.setdefault(at, {"panel": each.panel, "text": None, "runs": {}})
        if isinstance(each, TextSummary):
            record["text"] = each
        else:
            record["runs"][each.panel.family] = each
    return page(
        "glassesjax.studies.bounded",
        run=run,
        summary=summary,
        model=model,
        facts=[
            known.weights or model,
            sizes,
            positions,
            *arithmetic_facts(known.dtype, known.rounding),
            method,
        ],
        figures=figures,
        families={
            name: FAMILIES[name].title if name in FAMILIES else name for name in look.families
        },
        several=len(look.positions) > 1,
        encodings=[(name, name.replace("_", " ")) for name in look.positions],
        caches=[(series(p), state, policy_color(p.policy)) for state, p in look.states.items()],
        texts={f"tokens-{p.positions}-{series(p)}": p for p in look.tokens},
        distances=[
            (f"distance-{positions}-{family}", positions, family)
            for positions, family in dict.fromkeys((p.positions, p.family) for p in look.distances)
        ],
        table=list(records.values()),
        layers=[
            (at, label)
            for at, label in enumerate(LAYERS)
            if label and any(text.by_layers[at].tokens for text in summary.texts)
        ],
    )


def values(summary: BoundedSummary) -> list[dict[str, Any]]:
    """The data behind the first figure: a row a cache."""
    return [
        {
            "positions": each.panel.positions,
            "policy": each.panel.policy,
            "slots": each.panel.slots,
            "tokens": each.tokens,
            "evicted": each.evicted.tokens,
            "kept": None if each.not_finite else each.evicted.share,
            "without_path": each.without_path,
        }
        for each in summary.texts
    ]
