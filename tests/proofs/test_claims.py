"""The contract of all claims: each holds, its counter-case fails, and it can be shown."""

import ast
from pathlib import Path

import pytest

import proofs_numeric
from glassesjax.report.formulas import formula, prose
from proofs_numeric import replays
from proofs_numeric.claims import CLAIMS
from proofs_numeric.ledger import VerifySettings, failures, verify

FOLDER = Path(proofs_numeric.__file__).parent

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
MEASURED = [
    pytest.param(claim, marks=[] if claim.name in QUICK else [pytest.mark.claims])
    for claim in CLAIMS
]


def assigns_a_claim(path):
    """Whether a file declares a ``CLAIM``, seen without importing it."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    targets = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "CLAIM" for target in targets)


def test_every_file_with_a_claim_is_listed_under_its_own_name():
    declared = {path.stem for path in FOLDER.glob("*.py") if assigns_a_claim(path)}
    assert declared == {claim.name for claim in CLAIMS}
    assert len(declared) == len(CLAIMS)


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


@pytest.mark.parametrize("claim", MEASURED, ids=lambda claim: claim.name)
def test_a_claim_holds_and_its_counter_case_fails(claim):
    ((_, rows),) = verify(VerifySettings(only=(claim.name,)))
    assert failures(rows) == []
    assert any(row["part"] == "ladder" and row["verdict"] == "holds" for row in rows)
    cases = [row["counter_case"] for row in rows if row["part"] == "counter_case"]
    assert cases == ["fails as it must"] * max(len(cases), 1)


@pytest.mark.parametrize(("name", "groups"), [("tova", 1), ("h2o", 2)])
def test_tokens_that_were_dropped_together_are_counted(name, groups):
    """One cut drops all but the slots at once, in each layer and for each decision."""
    given = replays.cases()
    assert replays.read(*given, name).together == 0
    dropped = replays.LENGTH - replays.SLOTS
    wanted = len(given.tokens) * replays.LAYERS * groups * (dropped - 1)
    assert replays.read(*given, name, mode="cut").together == wanted
