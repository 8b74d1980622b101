"""What one row hears is what the last row of the sequence up to it hears."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made

from glassesjax.model import Bidirectional, DecoderConfig
from glassesjax.trace import exact_influence, printed_bound, rollout
from glassesjax.trace.token_influence import token_influence

AT, LENGTH = 4, 7
CONFIG = DecoderConfig(vocab_size=5, num_layers=2, num_heads=2, model_dim=8)
TOKENS = jnp.asarray([0, 1, 2, 3, 4, 1, 0], jnp.int32)


TOKEN_INFLUENCE = jax.jit(token_influence)


@pytest.fixture(scope="module")
def decoder():
    return made(CONFIG, jax.random.key(0))


def test_a_row_hears_what_the_last_of_its_prefix_does(decoder):
    found = jax.device_get(TOKEN_INFLUENCE(decoder, TOKENS, np.int32(AT)))
    prefix = TOKENS[: AT + 1]
    expected = exact_influence(decoder, prefix, layers=(0,)).frobenius[0]
    # Sums of 16 terms through two layers, some hundred roundings of each.
    np.testing.assert_allclose(found.influence[: AT + 1], expected, rtol=500 * 2.0**-53)
    np.testing.assert_array_equal(found.influence[AT + 1 :], 0)
    bound = jax.device_get(jax.jit(printed_bound)(decoder, prefix))
    wanted = np.log(bound.profile[0]) + bound.log_gain
    np.testing.assert_allclose(found.log_bound[: AT + 1], wanted, rtol=0, atol=500 * 2.0**-53)
    assert np.all(np.isneginf(found.log_bound[AT + 1 :]))
    assert np.all(np.asarray(found.rollout[AT + 1 :]) == 0)
    assert float(np.sum(found.rollout)) == pytest.approx(1, abs=2.0**-48)


def test_what_follows_a_row_changes_nothing(decoder):
    """Be it padding or the answer: to the roundoff of some hundred operations."""
    run = lambda tokens: jax.device_get(TOKEN_INFLUENCE(decoder, jnp.asarray(tokens), np.int32(AT)))
    changed, before = np.array(TOKENS), np.array(TOKENS)
    changed[AT + 1 :], before[AT - 1] = 3, 0
    found, other = run(TOKENS), run(changed)
    for mine, theirs in zip(found, other, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=500 * 2.0**-53)
    last = jax.jit(lambda tokens: rollout(decoder, tokens))(TOKENS[: AT + 1])
    np.testing.assert_allclose(
        found.rollout[: AT + 1], last.profile[0], rtol=0, atol=500 * 2.0**-53
    )
    moved = run(before)
    assert np.max(np.abs(moved.rollout - found.rollout)) > 1e-6, "a token before it does"


def test_paths_of_a_row_are_those_of_its_prefix(decoder):
    """With shares that are given."""
    shares = jnp.asarray([0.3, 0.6])
    run = jax.jit(lambda tokens, at: rollout(decoder, tokens, shares=shares, at=at).profile[0])
    last = jax.jit(lambda tokens: rollout(decoder, tokens, shares=shares).profile[0])
    found, expected = np.asarray(run(TOKENS, AT)), last(TOKENS[: AT + 1])
    np.testing.assert_allclose(found[: AT + 1], expected, rtol=0, atol=500 * 2.0**-53)
    other = run(TOKENS, AT + 1)
    assert np.max(np.abs(other - found)) > 1e-3, "another row, another profile"


def test_without_order_there_are_no_paths():
    config = DecoderConfig(vocab_size=5, model_dim=8, mask=Bidirectional())
    free = made(config, jax.random.key(0), jnp.float32)
    with pytest.raises(ValueError, match="no later token"):
        token_influence(free, TOKENS, jnp.asarray(AT, jnp.int32))
