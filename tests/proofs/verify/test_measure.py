import jax
import jax.numpy as jnp
import pytest
from proofs.made_claims import WRONG, claim, half, install, ladder, ledger_rows, violations

from glassesjax.errors import BadInput
from glassesjax.runs.record import to_row
from proofs_numeric.verify.fingerprint import fingerprint
from proofs_numeric.verify.measure import constants, verify
from proofs_numeric.verify.records import ROWS
from proofs_numeric.verify.settings import VerifySettings

SWITCHES = ("jax_enable_x64", "jax_default_matmul_precision", "jax_disable_most_optimizations")


@pytest.fixture
def ledger_of(monkeypatch):
    """The rows of made-up claims."""

    def rows_of(*claims, **settings):
        install(monkeypatch, *claims)
        return ledger_rows(**settings)

    return rows_of


def test_a_ledger_that_stands_has_no_failure(ledger_of):
    rows = ledger_of(claim(adversary=lambda suite: [half(3, measured=0.75)]))
    assert violations(rows) == []
    *measurements, closing = rows
    assert [row.part for row in measurements] == [*3 * ["ladder"], "adversary", "counter_case"]
    assert (closing.kind, closing.verdict) == ("closing", "holds")
    assert closing.tightness == 0.75  # of inequalities: the equality is at one
    assert (closing.measurements, closing.holding, closing.counter_cases) == (4, 4, 1)


@pytest.mark.parametrize(("made", "text"), WRONG.values(), ids=WRONG)
def test_each_thing_that_is_wrong_is_reported(ledger_of, made, text):
    found = violations(ledger_of(claim("sound"), made))
    assert any(text in line for line in found)
    assert all(line.startswith("made") for line in found)


def test_what_is_not_covered_is_no_failure(ledger_of):
    uncovered = lambda suite: [half(2), half(8, measured=9.0, distance=4.0)]
    rows = ledger_of(claim(measure=uncovered))
    assert [row.verdict for row in rows[:2]] == ["holds", "not_applicable"]
    assert violations(rows) == []


@pytest.mark.parametrize(("number", "wrong"), [(0.5, 0), (2.0, 1)])
def test_enclosures_are_asked_for_and_must_hold(ledger_of, number, wrong):
    pytest.importorskip("flint")
    made = claim(certify=lambda: [half(2, measured=number)])
    assert "certified" not in {row.part for row in ledger_of(made)[:-1]}
    rows = ledger_of(made, certified=True)
    assert [row.part for row in rows[:-1]].count("certified") == 1
    assert len(violations(rows)) == wrong


def test_claims_come_in_the_order_of_the_ledger_whatever_was_asked_first(ledger_of):
    rows = ledger_of(*map(claim, "abcd"), only=("d", "b"))
    assert list(dict.fromkeys(row.claim for row in rows)) == ["b", "d"]


def test_every_row_has_its_key_and_the_code_that_made_it(ledger_of):
    rows = ledger_of(claim("a"), claim("b"))
    flat = [to_row(row) for row in rows]
    assert len({tuple(row.get(name) for name in ROWS.key) for row in flat}) == len(rows)
    assert {row.fingerprint for row in rows} == {fingerprint("a"), fingerprint("b")}


def test_what_is_done_is_not_measured_again(monkeypatch):
    install(monkeypatch, claim("a"), claim("b"))
    done = lambda row: row["claim"] == "a" and row.keys() == {"kind", "claim", "fingerprint"}
    assert [made.name for made, _ in verify(VerifySettings(), done)] == ["b"]


def test_two_measurements_of_one_setting_are_refused(ledger_of):
    with pytest.raises(ValueError, match=r"two of 'half, n=2' in the ladder of made"):
        ledger_of(claim(measure=lambda suite: [half(2), half(2, measured=2.0)]))


def test_claims_are_measured_in_float64_and_the_callers_switches_are_not_touched(monkeypatch):
    """Other threads of the process may be tracing and compiling meanwhile."""
    before = {name: jax.config.values[name] for name in SWITCHES}

    def switched(suite):
        yield half(2, measured=float(jnp.ones(1).dtype == jnp.float64))
        same = jax.config.values[SWITCHES[-1]] == before[SWITCHES[-1]]  # it has no context
        yield half(3, measured=float(same))

    install(monkeypatch, claim("a", measure=switched), claim("b"))
    with jax.enable_x64(False):
        measuring = verify(VerifySettings())
        _, rows = next(measuring)
        measuring.close()  # the reader has seen enough
        assert jnp.ones(1).dtype == jnp.float32
    assert [row.measured for row in rows[:2]] == [1.0, 1.0]
    assert constants(VerifySettings()).optimized != before["jax_disable_most_optimizations"]
    assert {name: jax.config.values[name] for name in SWITCHES} == before


def test_a_claim_that_raises_does_not_take_those_before_it(monkeypatch):
    def broken(suite):
        yield from ladder(suite)
        raise ZeroDivisionError

    install(monkeypatch, claim("a"), claim("b", measure=broken), claim("c"))
    measuring = verify(VerifySettings())
    assert next(measuring)[0].name == "a"
    with pytest.raises(ZeroDivisionError):
        next(measuring)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"only": ("lem_b0",)}, r"claims out of .*lem_b1.*, got 'lem_b0': name one"),
        ({"only": ("lem_b1", "lem_b1")}, "different --only"),
    ],
)
def test_bad_settings_say_what_is_wanted(settings, text):
    with pytest.raises(BadInput, match=text):
        VerifySettings(**settings)
