"""Statistics of what was kept, on cases worked out by hand and against sets step by step."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassesjax.cache.replay import retained
from glassesjax.cache.retention import (
    cached_counts,
    cached_to_end,
    lifetimes,
    mean_lifetime,
    overlap,
    overlaps,
    recent_share,
    survival_mean,
)

# Four policies on one stream of six tokens with three slots: victims after steps 3, 4 and 5.
VICTIMS = {"window": (0, 1, 2), "window+1": (1, 2, 3), "h2o": (0, 2, 3), "tova": (0, 1, 3)}


def steps_of(victims, length=6, first=3):
    evicted_at = np.full((1, length), length, np.int32)
    evicted_at[0, list(victims)] = np.arange(first, first + len(victims))
    return evicted_at


@st.composite
def histories(draw):
    """Any policy's: after each step that finds it full, one of the held tokens goes."""
    slots, length = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    evicted_at, held = np.full((1, length), length, np.int32), []
    for step in range(length):
        held.append(step)
        if len(held) > slots:
            evicted_at[0, held.pop(draw(st.integers(0, slots)))] = step
    return slots, evicted_at


def test_lifetimes_by_hand():
    # Token 0 lives through steps 0 to 3, token 1 through 1 to 4, token 3 through 3 to 5.
    assert lifetimes(steps_of(VICTIMS["tova"])).tolist() == [[4, 4, 4, 3, 2, 1]]
    assert cached_to_end(steps_of(VICTIMS["tova"])).tolist() == [
        [False, False, True, False, True, True]
    ]
    assert lifetimes(steps_of(VICTIMS["window"])).tolist() == [[4, 4, 4, 3, 2, 1]]
    # The sink lives to the end; tokens 1 to 3 see their own step and two more.
    assert lifetimes(steps_of(VICTIMS["window+1"])).tolist() == [[6, 3, 3, 3, 2, 1]]


@pytest.mark.parametrize("name", VICTIMS)
def test_the_mean_lifetime_is_the_same_for_all_policies(name):
    # 1, 2, 3 and then 4 tokens are seen by the six steps: 18 in all.
    assert lifetimes(steps_of(VICTIMS[name])).sum() == 18
    assert mean_lifetime(3, 6) == 3.0


@pytest.mark.parametrize(("slots", "printed"), [(256, 249), (512, 481), (1024, 897), (2048, 1537)])
def test_the_averages_of_the_papers_table_are_arithmetic(slots, printed):
    # Table 5 rounds to whole steps; texts of 4096 tokens.
    assert round(mean_lifetime(slots, 4096)) == printed


def test_the_survival_mean_by_hand():
    ages, cut = np.array([1, 2, 2, 3]), np.array([False, False, True, False])
    # S(0) = 1, S(1) = 3/4, S(2) = 3/4 * 2/3 = 1/2; the plain mean is 2.
    assert survival_mean(ages, cut) == pytest.approx(2.25, rel=8 * 2.0**-53, abs=0)
    assert survival_mean(ages, np.zeros(4, bool)) == pytest.approx(2.0, rel=8 * 2.0**-53, abs=0)
    assert survival_mean(ages, np.ones(4, bool)) == 3.0  # nobody died


def test_a_window_keeps_each_token_for_k_and_one_steps_once_cuts_are_accounted_for():
    evicted_at = np.minimum(np.arange(20) + 4, 20).astype(np.int32)[None]
    assert lifetimes(evicted_at).mean() == mean_lifetime(4, 20) < 5
    assert survival_mean(lifetimes(evicted_at), cached_to_end(evicted_at)) == 5.0
    assert recent_share(evicted_at, 4).tolist() == [1.0]


def test_the_share_of_recent_tokens_by_hand():
    # After steps 3, 4 and 5: {1, 2, 3}, {2, 3, 4} and {2, 4, 5}: 2 is then the fourth last.
    assert recent_share(steps_of(VICTIMS["tova"]), 3).tolist() == [
        pytest.approx((1 + 1 + 2 / 3) / 3)
    ]
    # With a sink always one of three is old.
    assert recent_share(steps_of(VICTIMS["window+1"]), 3).tolist() == [pytest.approx(2 / 3)]
    assert np.isnan(recent_share(steps_of(()), 6)).all()


def test_the_overlap_by_hand():
    tova, window = steps_of(VICTIMS["tova"]), steps_of(VICTIMS["window"])
    # Equal after steps 3 and 4; then {2,4,5} and {3,4,5}: two of four.
    assert overlap(tova, window, 3) == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert overlap(tova, tova, 3) == 1.0
    assert math.isnan(overlap(tova, tova, 6))
    table = overlaps([tova, window, tova], 3)
    assert table.tolist() == table.T.tolist()
    assert table[0].tolist() == [1.0, overlap(tova, window, 3), 1.0]


@given(histories(), histories())
def test_against_sets_step_by_step(one, other):
    slots, evicted_at = one
    length = evicted_at.shape[1]
    sets = lambda evicted_at: [set(np.flatnonzero(held)) for held in retained(evicted_at)[0]]
    held = sets(evicted_at)
    assert cached_counts(evicted_at)[0].tolist() == [len(kept) for kept in held]
    newest = [sum(position > step - slots for position in kept) for step, kept in enumerate(held)]
    assert cached_counts(evicted_at, slots)[0].tolist() == newest
    assert lifetimes(evicted_at).mean() == pytest.approx(mean_lifetime(slots, length))
    assert cached_to_end(evicted_at)[0].nonzero()[0].tolist() == sorted(held[-1])
    if other[1].shape == evicted_at.shape and length > slots:
        pairs = itertools.islice(zip(held, sets(other[1]), strict=True), slots, None)
        alike = [len(a & b) / len(a | b) for a, b in pairs]
        assert overlap(evicted_at, other[1], slots) == pytest.approx(np.mean(alike))


def test_decisions_are_counted_each_by_itself():
    both = np.concatenate([steps_of(VICTIMS["tova"]), steps_of(VICTIMS["window+1"])])
    assert recent_share(both, 3).tolist() == [
        *recent_share(both[:1], 3).tolist(),
        *recent_share(both[1:], 3).tolist(),
    ]
    across = [overlap(both[a : a + 1], both[b : b + 1], 3) for a in (0, 1) for b in (0, 1)]
    assert overlap(both, both, 3) == pytest.approx(np.mean(across))
