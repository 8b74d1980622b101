"""The contract of all claims: each holds, its counter-case fails, and it can be shown."""

import pytest

from glassesjax.report.formulas import formula, prose
from proofs_numeric.support import replays
from proofs_numeric.verify.discovery import load, modules
from proofs_numeric.verify.measure import verify
from proofs_numeric.verify.rows import failures
from proofs_numeric.verify.settings import VerifySettings

CLAIMS = load(modules())


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_claim_can_be_shown(claim):
    assert "<math" in formula(claim.statement)
    for text in (claim.title, claim.note, *claim.assumes):
        prose(text)
    assert claim.source


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
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
