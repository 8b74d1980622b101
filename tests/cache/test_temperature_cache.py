"""Bounded states at other temperatures: n is what the query still holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cache.made_models import CONFIGS, drawn, text_of

from glassesjax.cache import policy
from glassesjax.cache.pruned import last_seen, pruned_pass, read
from glassesjax.model import Window
from glassesjax.model.stored_config import config_text
from glassesjax.model.temperature import tempered
from glassesjax.theory.blocks import repaired_bound
from glassesjax.trace import block_stack, exact_influence

LENGTH, SLOTS = 12, 4
TOKENS = jnp.asarray(text_of(3, LENGTH))
# Relative to y, whose coordinates are of size one: sums of some tens of terms in another order,
# through two layers whose logits are of a few units times a factor of up to two.
ALLOWED = 256 * 2.0**-53


@pytest.fixture(scope="module", params=["scalable", "adaptive"])
def decoder(request):
    return drawn(CONFIGS[request.param], 3)


@pytest.fixture(scope="module")
def tova(decoder):
    return reading(decoder, "tova-head", SLOTS)


def reading(decoder, name, slots):
    return read(decoder, TOKENS, policy(name), slots=slots, chunk=LENGTH)


def apart(first, second):
    second = np.asarray(second)
    return np.max(np.abs(np.asarray(first) - second)) / np.max(np.abs(second))


def test_a_state_with_room_is_the_dense_pass(decoder):
    y, _ = jax.jit(lambda d: d(TOKENS))(decoder)
    assert apart(reading(decoder, "full", LENGTH).y, y) <= ALLOWED
    # Four slots show five keys: what a model with a window of five sees, and no other model.
    windowed = isinstance(decoder.config.mask, Window)
    assert (apart(reading(decoder, "window", SLOTS).y, y) <= ALLOWED) == windowed


def test_the_dense_pass_is_the_replay(decoder, tova):
    resid = decoder.enter(TOKENS)
    y, trace = pruned_pass(decoder, resid, tova.evicted_at)
    assert apart(tova.y, y) <= ALLOWED
    seen = np.sum(np.asarray(trace.attn_weights) > 0, axis=-1)
    assert seen.max() == min(SLOTS + 1, 5)  # k + 1, which is the width of the window, too


def test_the_wrong_number_of_keys_is_seen(decoder, tova, monkeypatch):
    every = lambda t, s, logits, seen: tempered(t, s, logits, jnp.ones_like(seen))
    monkeypatch.setattr("glassesjax.model.attention.tempered", every)
    # Functions that are compiled already know the right one: another length is another function.
    said = read(decoder, TOKENS[:-1], policy("tova-head"), slots=SLOTS, chunk=LENGTH - 1)
    assert apart(said.y, tova.y[:-1]) > 1e-3


@pytest.fixture(scope="module")
def jacobian(decoder, tova):
    """Of the last representation in each token, through what was cached."""
    until = last_seen(tova.evicted_at)
    last = lambda resid: decoder.represent(resid, until=until)[0][-1]
    return np.asarray(jax.jit(jax.jacrev(last))(decoder.enter(TOKENS))).transpose(1, 0, 2)


# The derivative of the entropy is in trace/test_temperature_traces.
@pytest.mark.parametrize(
    "decoder", ["scalable", pytest.param("adaptive", marks=pytest.mark.slow)], indirect=True
)
def test_derivatives_of_what_is_cached(decoder, tova, jacobian):
    found = exact_influence(decoder, TOKENS, layers=(0,), until=last_seen(tova.evicted_at))
    exact = np.linalg.norm(jacobian, axis=(1, 2))
    # Some hundred products of sums of some tens of terms, in two orders.
    np.testing.assert_allclose(found.frobenius[0], exact, rtol=1e-11, atol=1e-13 * exact.max())


# Quick is the bound of what is cached, in test_pruned, and of this temperature, by hand, in
# trace/test_temperature_traces. Of the adaptive one no bound is known.
@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["scalable"], indirect=True)
def test_the_repaired_bound_of_what_is_cached(decoder, tova, jacobian):
    until = last_seen(tova.evicted_at)
    bound = jax.jit(lambda d: repaired_bound(block_stack(d, TOKENS, until=until)))(decoder)
    assert np.all(np.linalg.norm(jacobian, 2, axis=(1, 2)) <= np.asarray(bound) * (1 + 1e-9))


def test_saved_states_from_before_are_still_of_the_same_model():
    """Without a temperature the digested text is the one of before there were any."""
    half, *others = (config_text(CONFIGS[name]) for name in ("half", "scalable", "adaptive"))
    assert "temperature" not in half
    assert half.endswith("max_length=None)")
    assert len({half, *others}) == 3
