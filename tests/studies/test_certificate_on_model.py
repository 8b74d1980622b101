"""From the model's own trace to Theorem 4.2: the certificate holds where its hypotheses do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import Alibi, Decoder, DecoderConfig, Mlp, NoPositions, Rotary, Sinusoidal
from glassesjax.theory.collapse import LayerRows, collapse_certificate
from glassesjax.theory.norms import chebyshev_radius_bound

U = 2.0**-53
SIGMA = 0.7
CONFIG = DecoderConfig(
    vocab_size=6,
    num_layers=3,
    num_heads=2,
    model_dim=8,
    mlp=Mlp(kind="identity", sigma=SIGMA),
    embed_scale=8**0.5,
)


@jax.jit
def trace_of(decoder, tokens):
    return decoder(tokens, keep="attention")[1]


def rms_lipschitz(pair, eps):
    """Lipschitz constant of RMSNorm with gain one on the segment between two rows, in L2."""
    start, step = pair[0], pair[1] - pair[0]
    nearest = np.clip(-(start @ step) / max(step @ step, 1e-300), 0, 1)
    shortest = start + nearest * step
    return 1 / np.sqrt(np.mean(shortest**2) + eps)


def layer_rows(decoder, trace):
    """What the certificate wants of each layer, out of the trace and the weights alone."""
    config, attention = decoder.config, decoder.blocks.attention
    x = trace.resid / jnp.sqrt(jnp.mean(trace.resid**2, -1, keepdims=True) + config.norm.eps)
    value = attention.value[...].reshape(3, 2, 4, 8)  # layers heads head_dim model_dim
    output = attention.output[...].reshape(3, 8, 2, 4)
    moved = jnp.einsum("lonh,lnhi,lti->lnto", output, value, x)  # W x_i, for each head
    after = jnp.stack([*trace.resid[1:, -2:], last_residual(decoder, trace)[-2:]])
    lipschitz = [
        rms_lipschitz(np.asarray(pair), config.norm.eps) for pair in trace.resid_mid[:, -2:]
    ]
    return LayerRows(
        logits=trace.attn_logits[:, :, -2, :-1],
        next_logits=trace.attn_logits[:, :, -1],
        weights=trace.attn_weights[:, :, -2, :-1],
        next_weights=trace.attn_weights[:, :, -1],
        radius=chebyshev_radius_bound(moved, 2),
        resid=trace.resid[:, -2:],
        resid_mid=trace.resid_mid[:, -2:],
        resid_out=after,
        mlp_lipschitz=jnp.full(3, SIGMA),
        norm_lipschitz=jnp.asarray(lipschitz),
    )


def last_residual(decoder, trace):
    z = trace.resid_mid[-1]
    return z + SIGMA * z / jnp.sqrt(jnp.mean(z**2, -1, keepdims=True) + decoder.config.norm.eps)


def certificate(key, config, tokens):
    decoder = Decoder(config, key=key, dtype=jnp.float64)
    trace = trace_of(decoder, jnp.asarray(tokens, jnp.int32))
    return collapse_certificate(layer_rows(decoder, trace), 2)


@pytest.mark.parametrize(
    "positions",
    [NoPositions(), Rotary(), Alibi(), Sinusoidal(where="query_key")],
    ids=lambda positions: type(positions).__name__,
)
def test_the_certificate_holds_on_the_model(key, positions):
    config = dataclasses.replace(CONFIG, positions=positions)
    found = certificate(key, config, (0, 3, 1, 5, 2, 4, 1, 1))
    assert bool(found.equal_tokens)
    for name in ("mid", "out", "row_change", "self_weight"):
        # Distances of states of size ten, after sums of at most 8 terms in three layers.
        assert bool(jnp.all(getattr(found.layers, name).holds(1000 * U))), name
    assert bool(found.output.holds(1000 * U))
    assert 0 < float(found.output.measured) < float(found.output.bound)


def test_different_last_tokens_are_seen(key):
    found = certificate(key, CONFIG, (0, 3, 1, 5, 2, 4, 1, 2))
    assert not bool(found.equal_tokens)
    assert float(found.layers.error[0]) > 0.1  # nothing then forces a collapse


def test_positions_in_the_embedding_break_the_first_hypothesis(key):
    config = dataclasses.replace(CONFIG, positions=Sinusoidal())
    assert not bool(certificate(key, config, (0, 3, 1, 1)).equal_tokens)
