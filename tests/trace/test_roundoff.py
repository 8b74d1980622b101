"""The bound on rounding: over what float32 does, and far under what another count does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import Bidirectional, Decoder, DecoderConfig, Layout, Rotary
from glassesjax.trace.roundoff import score_roundoff

CONFIG = DecoderConfig(vocab_size=3, num_heads=2, model_dim=8, mask=Bidirectional())
TOKENS = (0, 1, 1, 2, 1, 0)
LAST = jnp.asarray(len(TOKENS) - 1, jnp.int32)


@jax.jit
def read(decoder, tokens):
    return decoder.logits(decoder(tokens)[0])[-1]


@pytest.mark.parametrize("seed", range(3))
def test_float32_errs_less_than_its_bound(seed):
    narrow = Decoder(CONFIG, key=jax.random.key(seed))
    wide = jax.tree.map(lambda weight: weight.astype(jnp.float64), narrow)
    tokens, line = jnp.asarray(TOKENS, jnp.int32), Layout.line(len(TOKENS))
    error = np.max(np.abs(np.asarray(read(narrow, tokens), float) - read(wide, tokens)))
    bound = jax.jit(score_roundoff)
    assert 0 < error <= float(bound(narrow, tokens, line, LAST))
    # In float64 it tells rounding from what one token more does.
    longer = read(wide, jnp.asarray((1, *TOKENS), jnp.int32)) - read(wide, tokens)
    small = float(bound(wide, tokens, line, LAST))
    assert small < 1e-5 < np.max(np.abs(longer))


def test_what_is_not_counted_is_refused():
    config = DecoderConfig(vocab_size=3, model_dim=8, positions=Rotary())
    decoder = Decoder(config, key=jax.random.key(0))
    with pytest.raises(ValueError, match="without positions"):
        score_roundoff(decoder, jnp.asarray(TOKENS, jnp.int32), Layout.line(len(TOKENS)), LAST)
