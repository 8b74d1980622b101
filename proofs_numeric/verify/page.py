"""Values of the ledger's page by the names in its template, and headlines for a terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from glassesjax.report.formulas import formula, prose
from glassesjax.report.numbers import MISSING
from glassesjax.report.render import Plot, answer, page
from glassesjax.runs.run import Run
from proofs_numeric.claim import Claim
from proofs_numeric.verify.discovery import TOPICS
from proofs_numeric.verify.records import MeasurementRow, VerifyConstants, VerifyRow
from proofs_numeric.verify.summary import (
    ClaimRows,
    ClaimSummary,
    VerifySummary,
    by_claim,
    ratio_of,
)


def headline(summary: VerifySummary) -> str:
    """Headline of the ledger."""
    return answer("proofs_numeric.verify", summary)


def ratio(value: float | None) -> str:
    """A tightness with enough digits to differ from one."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.3f}" if 0.001 <= abs(value) < 0.999 else f"{value:.6g}"


def ledger_page(
    run: Run[VerifyRow, VerifyConstants],
    summary: VerifySummary,
    claims: Sequence[Claim],
    figure: Plot,
    ladders: Mapping[str, str],
) -> str:
    """One self-contained page on the ledger.

    Returns:
      An HTML document without external resources. The same rows give the same text.

    Raises:
      ValueError: A formula cannot be rendered.
    """
    rows = by_claim(run.rows)
    known = {each.topic for each in summary.claims.values()}
    return page(
        "proofs_numeric.verify",
        run=run,
        summary=summary,
        facts=_facts(run, summary),
        figure=figure,
        topics=[(topic.name, topic.title) for topic in TOPICS if topic.name in known],
        table=[
            {
                "claim": claim,
                "title": prose(claim.title),
                "formula": formula(claim.statement),
                "assumes": [prose(text) for text in claim.assumes],
                "note": prose(claim.note),
                "one": (one := summary.claims[claim.name]),
                "state": one.closeness if one.stands else "broken",
                "instances": list(_instances(one, rows[claim.name])),
                "ladder": ladders.get(claim.name, ""),
            }
            for claim in claims
        ],
        ratio=ratio,
        zip=zip,
    )


def _facts(run: Run[VerifyRow, VerifyConstants], summary: VerifySummary) -> list[str]:
    count = lambda number, name: f"{number:,} {name}" if number != 1 else f"one {name[:-1]}"
    total = count(summary.measured, "claims")
    if summary.measured < summary.total:
        total = f"{summary.measured} of {summary.total} claims"
    tried, cases = (summary.tried, "measurements"), (summary.counter_cases, "counter-cases")
    certified = ["in ball arithmetic too"] if summary.certified else []
    return [total, count(*tried), count(*cases), f"suite {run.constants.suite}", *certified]


def _instances(one: ClaimSummary, rows: ClaimRows) -> Iterator[tuple[str, MeasurementRow]]:
    """The measurements in a collapsible section, each with the name of its part."""
    yield from (("violated", row) for row in rows.measured if row.verdict == "violated")
    others = {"closest to its bound": one.closest, "worst equality": one.equalities}
    for name, each in others.items():
        if each is not None:
            yield name, _row(rows, each.part, each.setting)
    if one.ascent is not None and (one.closest is None or one.closest.part != "adversary"):
        yield "gradient ascent", _row(rows, "adversary", one.ascent.setting)
    if one.closest is None and one.equalities is None:
        holding = [row for row in rows.measured if row.verdict == "holds"]
        yield from (("closest to its bound", row) for row in sorted(holding, key=_room)[:1])
    yield from (("counter-case", row) for row in rows.part("counter_case"))


def _room(row: MeasurementRow) -> float:
    room = row.bound - row.measured
    return room if math.isfinite(room) else math.inf


def _row(rows: ClaimRows, part: str, setting: str) -> MeasurementRow:
    return next(row for row in rows.measured if (row.part, row.setting) == (part, setting))


def values(rows: Mapping[str, ClaimRows], summary: VerifySummary) -> list[dict[str, Any]]:
    """The data behind the first figure: a row a measurement."""
    return [
        {
            "topic": summary.claims[name].topic,
            "claim": name,
            "part": row.part,
            "measured": row.measured,
            "bound": row.bound,
            "ratio": ratio_of(row),
            "verdict": row.counter_case or row.verdict,
        }
        for name, mine in rows.items()
        for row in mine.measured
    ]
