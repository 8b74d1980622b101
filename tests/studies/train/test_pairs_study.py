"""Pairs of a counter written by hand, whose failing length is known; refusals; rows once each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model.counter import counter, counter_symbols
from glassesjax.precision import E4M3FN, F64, RoundingPlan, float_format
from glassesjax.runs.record import to_row
from glassesjax.studies.train import pair_rows
from glassesjax.studies.train.pair_rows import Asked, collisions
from glassesjax.studies.train.pairs import PairAnswers, Pairs, lay_pairs, pair_lengths
from glassesjax.studies.train.records import ROWS, FailureRow
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.tasks.sequences import BOS
from glassesjax.tasks.task import COMMON
from glassesjax.theory.counting import failing_length
from glassesjax.train import init_state

MOST, TRAINED = 60, 6
TINY = {"layers": 1, "heads": 1, "width": 8, "lengths": (2, 4), "steps": 1, "batch": 1}


@pytest.fixture(autouse=True, scope="module")
def one_program():
    """Each predictor is one program: step by step they are some fifty."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("surely_confused", "probability_apart", "chance_wrong", "noise"):
            patch.setattr(pair_rows, name, jax.jit(getattr(pair_rows, name)))
        yield


def settings(**changed):
    return TrainSettings(task="count_ones", **{**TINY, **changed})


def heard(plan):
    """All pairs of the counter out of one pass: a causal row never changes."""
    symbols = counter_symbols(MOST)
    decoder = counter(MOST, reading="one_plus_share", dtype=jnp.float64)
    tokens = jnp.asarray([symbols.index(s) for s in (BOS, *"1" * MOST)])

    @jax.jit
    def asked(decoder):
        y, _ = decoder(tokens)
        return y, decoder.logits(y)

    y, scores = asked(decoder.at(plan))
    lengths = list(range(1, MOST))
    right = symbols.index("#0") + np.asarray([[n, n + 1] for n in lengths])
    both = lambda x: np.stack([np.asarray(x)[1:-1], np.asarray(x)[2:]], axis=1)
    trained = np.asarray(lengths) < TRAINED
    return PairAnswers(
        lengths, trained, both(y), both(scores), right, np.asarray(decoder.unembedding)
    )


@pytest.fixture(scope="module")
def wide():
    return heard(RoundingPlan.wide(F64))


@pytest.fixture(scope="module", params=[float_format("e8m4"), E4M3FN], ids=["e8m4", "e4m3fn"])
def failing(request, wide):
    """A format, and where the counter is predicted to fail in it, and fails."""
    fmt = request.param
    plan = RoundingPlan(residual=fmt, output=fmt, mode="simulated", carrier=F64)
    own = heard(plan)
    return fmt, pair_rows._failure_lengths(wide, own, pair_rows._predict(wide, own, plan), plan)


def test_a_counter_fails_where_it_must(failing):
    """Storage says it to the token. The chance does not: noise at 6 is far over that at 30."""
    fmt, found = failing
    known = failing_length(fmt, "one_plus_share")
    assert found.observed == known.last_distinct + 1
    assert found.by_storage == known.last_distinct + 1
    assert found.predicted <= found.observed
    assert found.first_failure in (known.first_equal, known.first_wrong - 1)
    assert found.contradictions == 0


def test_a_format_that_keeps_all_is_predicted_to_fail_nowhere(wide):
    plan = RoundingPlan(output=F64, mode="simulated", carrier=F64)
    own = heard(plan)
    found = pair_rows._failure_lengths(wide, own, pair_rows._predict(wide, own, plan), plan)
    names = ("predicted", "by_storage", "by_signal", "observed", "first_failure")
    assert [getattr(found, name) for name in names] == [None] * 5
    assert found.noise == 0


def test_a_false_certificate_is_found(wide, monkeypatch):
    """The check can fail: certificates that were made up contradict what is seen."""
    plan = RoundingPlan.wide(F64)
    monkeypatch.setattr(pair_rows, "surely_confused", lambda *_: jnp.ones(MOST - 1, bool))
    found = pair_rows._failure_lengths(wide, wide, pair_rows._predict(wide, wide, plan), plan)
    assert found.contradictions == MOST - 1


def test_lengths_are_all_of_the_training_and_eight_a_doubling():
    lengths = pair_lengths(TrainSettings(task="count_ones"))
    assert lengths[:30] == list(range(2, 32))
    beyond = [n for n in lengths if n >= 32]
    assert beyond[::8][:4] == [32, 64, 128, 256]
    assert len(beyond) == 33
    assert lengths[-1] == 511  # with 512, the longest that is answered


@pytest.mark.parametrize(
    ("task", "why"), [("count_ones", "pairs_wrong"), ("copy_first", "no_pairs")]
)
def test_what_is_not_learned_or_not_alike_is_refused(task, why):
    chosen = TrainSettings(task=task, **TINY, formats=("f32",))
    decoder = init_state(chosen.config, chosen.training, 0, chosen.rate).decoder
    rows = [row for _, found in collisions(chosen, [decoder], lambda row: False) for row in found]
    assert [row.format for row in rows] == ["f64", "f32"]
    assert not any(row.lengths for row in rows)
    assert {row.obstacle for row in rows} == {why}


def by_hand():
    """Three pairs of a readout that says the nearest digit: the last, 4 and 4.1, is confused."""
    zero, digits = COMMON.index("0"), np.arange(10.0)
    unembed = np.zeros((len(COMMON), 2))
    unembed[:, 1] = -1000
    unembed[zero : zero + 10] = np.stack([2 * digits, -(digits**2)], axis=1)
    y = np.asarray([[[2, 1], [3, 1]], [[3, 1], [4, 1]], [[4, 1], [4.1, 1]]])
    right = zero + np.asarray([[2, 3], [3, 4], [4, 5]])
    trained = np.asarray([True, True, False])
    return PairAnswers([2, 3, 4], trained, y, y @ unembed.T, right, unembed)


@pytest.fixture(scope="module")
def rows_by_hand():
    known = by_hand()
    # A format of halves, by which the last two are one, and a lead at 3 is off by a half.
    y = known.y.copy()
    y[2, 1, 0], y[0, 1, 0] = 4, 3.25
    own = known._replace(y=y, scores=y @ known.unembed.T)
    blank = np.zeros((3, 2))
    decoder = counter(MOST, reading="one_plus_share", dtype=jnp.float64)
    asked = Asked(0, decoder, Pairs(known.lengths, blank, blank, known.right), known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_rows, "answer_pairs", lambda *_: own)
        return pair_rows.pair_rows(settings(), asked, "e8m3@output")


def test_rows_by_hand(rows_by_hand):
    rows = rows_by_hand
    assert len({tuple(to_row(row).get(name) for name in ROWS.key) for row in rows}) == 4
    *pairs, last = rows
    assert [row.length for row in pairs] == [2, 3, 4]
    assert [row.answer + row.next_answer for row in pairs] == ["23", "34", "44"]
    assert [row.collision for row in pairs] == [False, False, True]
    assert [row.certified for row in pairs] == [False, False, True]
    assert [row.in_training for row in pairs] == [True, True, False]
    assert [row.linf for row in pairs] == pytest.approx([1.25, 1, 0])
    # The lead of 2 over 3 is 5 - 2 y: off by -0.5 at one of four places, hence the root of 1/16.
    assert last.lengths.noise == pytest.approx(0.25)
    assert [row.signal for row in pairs] == pytest.approx([2, 2, 0.2])
    assert (last.lengths.predicted, last.lengths.observed, last.lengths.first_failure) == (4, 4, 4)
    assert (last.lengths.by_certificate, last.lengths.by_signal, last.lengths.least) == (4, 4, 2)
    assert last.lengths.mantissa_bits == 3


@pytest.mark.parametrize(
    ("done", "asked"),
    [
        (lambda row: True, []),
        (lambda row: row["format"] == "f64", ["f32"]),
        (lambda row: False, ["f64", "f32"]),
    ],
    ids=["all", "some", "none"],
)
def test_what_is_done_is_not_asked_again(monkeypatch, done, asked):
    asks, chosen = [], settings(formats=("f32",))
    decoder = init_state(chosen.config, chosen.training, 0, chosen.rate).decoder
    monkeypatch.setattr(pair_rows, "ask", lambda settings, seed, decoder: asks.append(seed))
    head = {"seed": 0, "step": 1, "dtype": "float32", "mode": "reference", "rounding": "none"}
    made = lambda settings, asked, name: [FailureRow(**head, format=name, obstacle="no_pairs")]
    monkeypatch.setattr(pair_rows, "pair_rows", made)
    rows = [row for _, found in collisions(chosen, [decoder], done) for row in found]
    assert [row.format for row in rows] == asked
    assert asks == ([0] if asked else [])


def test_a_decoder_that_says_first_tokens_is_asked_for_them_alone():
    """Of 9 and 10 the first token parts them, of 10 to 18 the second; of 19 and 20 the first."""
    chosen = {"lengths": (2, 24)}
    causal = lay_pairs(settings(**chosen), 0).lengths
    free = lay_pairs(settings(**chosen, mask="none"), 0).lengths
    assert causal[:23] == list(range(2, 25))
    assert [n for n in free if n < 24] == [*range(2, 10), 19]
    assert set(free) < set(causal)
