"""The contract of all claims: each holds, its counter-case fails, and it can be shown."""

import pytest
from proofs.made_claims import ledger_rows, violations

from glassesjax.report.formulas import formula, prose
from proofs_numeric.support import replays
from proofs_numeric.verify.discovery import load, modules

CLAIMS = load(modules())

# One claim of each kind, the cheapest; all of them are measured by `glassesjax verify`. With the
# first comes an adversary, and with err_e07 and prop_b4 what would be certified.
KINDS = ("cor", "err", "fig", "fu", "lem", "msrnn", "prop", "thm")
QUICK = (
    "dispersion",
    "cor_6_2_bits",
    "err_e07",
    "fig_8",
    "fu_ssmax",
    "lem_b7",
    "msrnn_slots",
    "prop_b4",
    "thm_4_2_exact",
)
CASES = [
    pytest.param(claim, marks=[] if claim.name in QUICK else [pytest.mark.claims])
    for claim in CLAIMS
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_claim_can_be_shown(claim):
    assert "<math" in formula(claim.statement)
    for text in (claim.title, claim.note, *claim.assumes):
        prose(text)
    assert claim.source


def test_the_quick_claims_are_one_of_each_kind():
    prefix = lambda name: name.partition("_")[0]
    kinds = {prefix(claim.name) for claim in CLAIMS} & set(KINDS)
    assert set(QUICK) <= {claim.name for claim in CLAIMS}
    assert kinds | {"dispersion"} == {prefix(name) for name in QUICK}
    assert len(QUICK) == len(kinds) + 1  # and one without a prefix


@pytest.mark.parametrize("claim", CASES, ids=lambda claim: claim.name)
def test_a_claim_holds_and_its_counter_case_fails(claim):
    rows = ledger_rows(only=(claim.name,))
    assert violations(rows) == []
    measurements = rows[:-1]  # the last one closes the claim
    assert any(row.part == "ladder" and row.verdict == "holds" for row in measurements)
    cases = [row.counter_case for row in measurements if row.part == "counter_case"]
    assert cases == ["fails"] * max(len(cases), 1)


@pytest.mark.parametrize(
    ("name", "groups"), [pytest.param("tova", 1, marks=pytest.mark.slow), ("h2o", 2)]
)
def test_tokens_that_were_dropped_together_are_counted(name, groups):
    """One eviction drops all but the slots at once, in each layer and for each decision."""
    given = replays.cases()
    assert replays.read(*given, name).together == 0
    dropped = replays.LENGTH - replays.SLOTS
    wanted = len(given.tokens) * replays.LAYERS * groups * (dropped - 1)
    assert replays.read(*given, name, mode="chunked").together == wanted
