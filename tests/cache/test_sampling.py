"""Choosing a token: by hand, and the whole distribution against a slow one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import UNIT_ROUNDOFF

from glassesjax.cache import choosing
from glassesjax.cache.choosing import greedy, row_keys, temper
from glassesjax.cache.sampling import Sampling
from glassesjax.errors import BadInput

NO = -np.inf
# One program a shape and setting, in place of one an operation.
top_k, top_p, narrowed = (
    jax.jit(function, static_argnums=1)
    for function in (choosing.top_k, choosing.top_p, choosing.narrowed)
)
choose = jax.jit(choosing.choose, static_argnums=2)


def array(*values):
    return jnp.asarray(values, jnp.float64)


def test_greedy_takes_the_smallest_of_equal_tokens():
    assert greedy(array(1, 3, 3, 2)) == 1
    assert choose(array(1, 3, 3, 2), jax.random.key(0)) == 1


def test_top_k_keeps_exactly_k_and_of_equal_ones_the_smallest():
    np.testing.assert_array_equal(top_k(array(2, 5, 2, 7, 2), 3), [2, 5, NO, 7, NO])
    np.testing.assert_array_equal(top_k(array(2, 5), 2), [2, 5])
    np.testing.assert_array_equal(top_k(array(2, 5), 9), [2, 5])


def test_top_p_stops_as_soon_as_the_share_is_reached():
    equal = array(0, 0, 0, 0)  # a quarter each, exactly
    np.testing.assert_array_equal(top_p(equal, 0.5), [0, 0, NO, NO])
    np.testing.assert_array_equal(top_p(equal, 0.51), [0, 0, 0, NO])
    np.testing.assert_array_equal(top_p(equal, 1.0), equal)
    logits = np.log([0.1, 0.6, 0.3])
    np.testing.assert_array_equal(top_p(logits, 0.59), [NO, logits[1], NO])
    np.testing.assert_array_equal(top_p(logits, 0.61), [NO, logits[1], logits[2]])
    np.testing.assert_array_equal(top_p(logits, 1e-9), [NO, logits[1], NO])  # at least one


def test_the_temperature_divides_and_none_is_too_small():
    np.testing.assert_array_equal(temper(array(1, 3, 2), 0.5), [-4, 0, -2])
    tiny = temper(jnp.asarray([1, 3, 3], jnp.float32), 1e-45)
    np.testing.assert_array_equal(tiny, [NO, 0, 0])


def test_the_order_is_temperature_then_k_then_p():
    # At temperature 1/2 the odds 4:2:1:1 become 16:4:1:1; the best three hold 16/21 = 0.762.
    logits = np.log([4.0, 2, 1, 1])
    kept = lambda p: np.isfinite(narrowed(logits, Sampling(temperature=0.5, top_k=3, top_p=p)))
    np.testing.assert_array_equal(kept(0.75), [True, False, False, False])
    np.testing.assert_array_equal(kept(0.77), [True, True, False, False])
    np.testing.assert_array_equal(kept(0.99), [True, True, True, False])


def slow(logits, sampling):
    """Probabilities by sorting pairs in Python."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    weight = [np.exp((logit - max(logits)) / sampling.temperature) for logit in logits]
    order = order[: sampling.top_k or len(order)]
    total = sum(weight[token] for token in order)
    kept, reached = [], 0.0
    for token in order:
        if kept and reached >= sampling.top_p:
            break
        kept.append(token)
        reached += weight[token] / total
    mass = sum(weight[token] for token in kept)
    return np.asarray([weight[t] / mass if t in kept else 0.0 for t in range(len(logits))])


@pytest.fixture(scope="module")
def operations():
    """Compiled for all examples: op by op, since the settings are many and each is a program."""
    for sampling in (Sampling(temperature=0.3, top_k=3, top_p=0.457), Sampling(temperature=2.5)):
        jax.nn.softmax(choosing.narrowed(jnp.arange(8, dtype=jnp.float64), sampling))


@settings(deadline=None, max_examples=60)
@given(
    logits=st.lists(st.integers(-6, 6), min_size=8, max_size=8),
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    count=st.sampled_from([None, 1, 3, 8]),
    share=st.sampled_from([0.123, 0.457, 0.911, 1.0]),
)
def test_the_distribution_is_that_of_the_slow_one(operations, logits, temperature, count, share):
    sampling = Sampling(temperature=temperature, top_k=count, top_p=share)
    found = jax.nn.softmax(choosing.narrowed(jnp.asarray(logits, jnp.float64), sampling))
    # Few operations on eight numbers: a subtraction, a division, exp twice, and two sums.
    atol = 64 * UNIT_ROUNDOFF["float64"]
    np.testing.assert_allclose(found, slow(logits, sampling), rtol=0, atol=atol)


def test_a_narrow_dtype_is_widened_before_it_is_narrowed():
    logits = jnp.asarray([1, 2, 3], jnp.bfloat16)
    assert narrowed(logits, Sampling(temperature=1.0)).dtype == jnp.float32


def test_what_is_drawn_was_not_forbidden_and_follows_the_key():
    logits, sampling = array(0, 3, 1, 3), Sampling(temperature=2.0, top_k=2)
    keys = jax.random.split(jax.random.key(1), 64)
    drawn = jax.vmap(lambda key: choose(logits, key, sampling))(keys)
    assert set(drawn.tolist()) == {1, 3}  # all 64 the same: a chance of 2^-63
    assert drawn.dtype == jnp.int32
    np.testing.assert_array_equal(drawn[7], choose(logits, keys[7], sampling))


def test_a_row_has_its_own_key_whoever_stands_beside_it():
    data = lambda *rows: jax.random.key_data(row_keys(3, np.asarray(rows, np.int32)))
    np.testing.assert_array_equal(data(0, 1, 2)[1:], data(1, 2))
    assert len({tuple(row) for row in data(0, 1, 2).tolist()}) == 3


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"temperature": -0.1}, "temperature at least 0, got -0.1"),
        ({"temperature": float("nan")}, "temperature to be a number, got nan"),
        ({"temperature": float("inf")}, "temperature to be finite, got inf"),
        ({"top_k": 0}, "top_k at least 1, got 0"),
        ({"top_p": 0.0}, "top_p over 0"),
        ({"top_p": 1.1}, "at most 1"),
    ],
)
def test_settings_that_draw_nothing_are_refused(given, text):
    with pytest.raises(BadInput, match=text):
        Sampling(**given)
