"""Claims about nothing: every number is known, and one thing at a time is wrong with them."""

import json
import math
import sys
import types

from glassesjax.files import to_json
from glassesjax.runs.record import from_row, to_row
from glassesjax.runs.run import Run
from proofs_numeric.claim import Claim, Hypothesis, Measurement
from proofs_numeric.verify import discovery
from proofs_numeric.verify.measure import verify
from proofs_numeric.verify.records import ROWS, VerifyConstants
from proofs_numeric.verify.settings import VerifySettings
from proofs_numeric.verify.study import STUDY
from proofs_numeric.verify.summary import summarize

SETTINGS = {"study": "verify", "suite": "quick", "note": "<script>alert(1)</script>"}
RECORD = {
    "study": "verify", "suite": "quick", "matmul_default": "highest", "optimized": True,
    "jax": "0.10.2",
}  # fmt: skip


def hypothesis(distance, name="size over 4"):
    return Hypothesis(name=name, distance=distance)


def half(size, *, measured=0.5, distance=0.0):
    """One half against a bound of one."""
    return Measurement(
        setting=f"half, n={size}",
        measured=measured,
        bound=1.0,
        size=size,
        hypotheses=(hypothesis(distance),),
    )


def ladder(suite):
    yield half(2)
    yield half(8)
    yield Measurement.equality(
        setting="equality, n=2", measured=1.0 + 2.0**-52, expected=1.0, roundoff=2.0**-50, size=2
    )


def outside(measured=3.0, distance=1.0):
    case = {"setting": "n=5", "measured": measured, "bound": 1.0}
    return lambda: [Measurement(**case, hypotheses=(hypothesis(distance),))]


def claim(name="made", *, measure=ladder, counter_case=None, **more):
    words = {
        "title": "One half is at most one <b>",
        "source": "arXiv 0000.00000, Lemma 1",
        "statement": r"\frac{1}{2} \le 1",
        "assumes": ("a size $n \\le 4$ & no more",),
    }
    return Claim(
        name=name, measure=measure, counter_case=counter_case or outside(), **(words | more)
    )


def install(monkeypatch, *claims):
    """Puts made-up claims in the place of the ledger's."""
    modules = {claim.name: f"made_up.{claim.name}" for claim in claims}
    monkeypatch.setattr(discovery, "modules", lambda: modules)
    for claim in claims:
        monkeypatch.setitem(sys.modules, modules[claim.name], types.SimpleNamespace(CLAIM=claim))


# What is wrong, the claim, and what a line of the failures must say.
WRONG = {
    "violates": (claim(measure=lambda suite: [half(2), half(8, measured=2.0)]), "violated, 2.0"),
    "is no number": (
        claim(measure=lambda suite: [half(2), half(4, measured=math.nan)]),
        "violated, None",
    ),
    "counter-case holds": (claim(counter_case=outside(0.5)), "does not fail"),
    "counter-case inside": (claim(counter_case=outside(distance=0.0)), "violated"),
    "counter-case unmeasured": (claim(counter_case=outside(distance=math.nan)), "not be measured"),
    "no counter-case": (claim(counter_case=lambda: []), "no counter-case"),
    "counter-case is no number": (claim(counter_case=outside(math.nan)), "does not fail"),
    "adversary never applies": (
        claim(adversary=lambda suite: [half(3, distance=1.0)]),
        "nothing of its adversary",
    ),
    "hypothesis is NaN": (
        claim(measure=lambda suite: [half(2), half(8, distance=math.nan)]),
        "unmeasured: size over 4",
    ),
    "never applies": (
        claim(measure=lambda suite: [half(8, distance=4.0)]),
        "nothing of its ladder",
    ),
    "measures nothing": (claim(measure=lambda suite: []), "no measurement"),
    "adversary wins": (claim(adversary=lambda suite: [half(3, measured=1.5)]), "adversary, half"),
}


def ledger_rows(**settings):
    """The rows of the claims that there are, as a run folder would give them back."""
    rows = [row for _, rows in verify(VerifySettings(**settings)) for row in rows]
    return [ROWS.read(json.loads(to_json(to_row(row)))) for row in rows]


def run_of(rows):
    """A run with these rows."""
    return Run(
        settings=SETTINGS,
        rows=rows,
        numbers=[0] * len(rows),
        records=[RECORD],
        constants=from_row(VerifyConstants, RECORD),
        provenance={},
    )


def violations(rows):
    """What the command says is not as it must be."""
    return STUDY.violations(summarize(run_of(rows)))
