"""Masks, paths and flows of a bounded state against loops and numbers by hand."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.theory.pruned import (
    counted_up_to,
    equal_from,
    flow_through_state,
    paths_left,
    pruned_path_bound,
    pruned_weights,
    retained_pairs,
    window_reach,
)
from glassesjax.theory.squashing import attention_rollout, path_bound

LAYERS, LENGTH = 3, 7


def forget(slots, seed=None):
    """Steps at which a window, or a random policy, drops each token."""
    random, steps = np.random.default_rng(seed), np.full((LAYERS, LENGTH), LENGTH, np.int32)
    for layer in range(LAYERS):
        held = []
        for step in range(LENGTH):
            held.append(step)
            if len(held) > slots:
                victim = 0 if seed is None else int(random.integers(len(held)))
                steps[layer, held.pop(victim)] = step
    return jnp.asarray(steps)


@pytest.fixture(scope="module")
def logits():
    return jnp.asarray(np.random.default_rng(1).normal(size=(LAYERS, LENGTH, LENGTH)))


def test_a_token_is_seen_from_its_own_step_to_the_one_that_drops_it():
    seen = np.asarray(retained_pairs(jnp.asarray([1, 3, 2, 4], jnp.int32)))
    rows = ["1000", "1100", "0110", "0101"]
    assert ["".join(map(str, row.astype(int))) for row in seen] == rows


def test_weights_are_a_softmax_over_what_is_seen(logits):
    seen = retained_pairs(forget(2, seed=4))
    weights = np.asarray(pruned_weights(logits, seen))
    assert np.array_equal(weights > 0, np.asarray(seen))
    for layer, step in itertools.product(range(LAYERS), range(LENGTH)):
        held = np.flatnonzero(np.asarray(seen[layer, step]))
        shares = np.exp(np.asarray(logits[layer, step])[held])
        # A handful of exponentials, their sum and a division.
        np.testing.assert_allclose(weights[layer, step, held], shares / shares.sum(), rtol=1e-14)


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_the_bound_is_the_sum_over_paths_through_what_is_held(logits, seed):
    evicted_at = forget(2, seed)
    beta = jnp.asarray([0.5, 1.0, 2.0])
    bound = pruned_path_bound(logits, evicted_at, beta, beta, jnp.asarray(1.5), beta / 4)
    weights = np.asarray(pruned_weights(logits, retained_pairs(evicted_at)))
    steps = [weights[n] / float(beta[n]) + np.eye(LENGTH) for n in range(LAYERS)]
    total = np.zeros(LENGTH)
    for path in itertools.product(range(LENGTH), repeat=LAYERS):
        full = (*path, LENGTH - 1)
        total[full[0]] += np.prod([steps[n][full[n + 1], full[n]] for n in range(LAYERS)])
    # The MLPs' slopes over their divisors are a quarter each.
    np.testing.assert_allclose(bound, 1.25**3 / 1.5 * total, rtol=1e-13)
    np.testing.assert_array_equal(bound > 0, paths_left(retained_pairs(evicted_at))[0])
    everything = jnp.full_like(evicted_at, LENGTH)
    full = pruned_path_bound(logits, everything, beta, beta, jnp.asarray(1.5), beta / 4)
    causal = pruned_weights(logits, retained_pairs(everything))
    np.testing.assert_array_equal(full, path_bound(causal, beta, beta, jnp.asarray(1.5), beta / 4))


def test_paths_of_a_window_end_at_its_reach():
    left = np.asarray(paths_left(retained_pairs(forget(2))))
    reach = window_reach(LAYERS, 2)
    assert left.shape == (LAYERS + 1, LENGTH)
    for layer in range(LAYERS + 1):
        back = LENGTH - 1 - np.arange(LENGTH)
        assert (left[layer] == (back <= reach - 2 * layer)).all()


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
@pytest.mark.parametrize("step", [0, 3, 5])
def test_the_past_speaks_through_what_is_held_and_through_nothing_else(logits, seed, step):
    evicted_at, shares = forget(2, seed), jnp.asarray([0.3, 0.6, 0.9])
    weights = pruned_weights(logits, retained_pairs(evicted_at))
    flow = np.asarray(flow_through_state(weights, shares, step))
    past = np.asarray(attention_rollout(weights, shares))[: step + 1].sum()
    # Sums of at most 21 terms, none negative.
    np.testing.assert_allclose(flow.sum(), past, rtol=1e-14, atol=1e-16)
    gone = (np.asarray(evicted_at) <= step) | (np.arange(LENGTH) > step)
    assert np.all(flow[gone] == 0)


def test_run_lengths_by_hand():
    assert equal_from(3, 8) == 25
    assert equal_from(3, 8, tail=1) == 24
    assert equal_from(3, 8, sinks=4, inside=3) == 16
    assert equal_from(1, 1, tail=5) == 1
    assert counted_up_to(8) == 8
