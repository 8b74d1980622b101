"""(R1) and (R2) of each kind of block where they are attained, and with a term dropped.

Four coordinates; what a norm reads is nearly (1, 1, 1, 1) and moves by a short step that its slope
does not shrink: across it in norm 2, along one axis in norm 1, by signs in norm inf. There the
slope of the norm is its constant to the order of the step.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import (
    DecoderConfig,
    GatedMlp,
    IdentityMlp,
    NoNorm,
    RMSNorm,
    ZeroMlp,
    build_decoder,
)
from glassesjax.theory.collapse import collapse_certificate
from glassesjax.trace import certificate_rows

STEP = 2.0**-16
WAYS = {1: (1.0, 0.0, 0.0, 0.0), 2: (1.0, -1.0, 1.0, -1.0), "inf": (1.0, -1.0, -1.0, -1.0)}
NORMS = list(WAYS)
PLAIN = NoNorm()
rows_of = jax.jit(certificate_rows, static_argnames="norm")
certificate_of = jax.jit(collapse_certificate, static_argnames="norm")


def layer_by_hand(distance, base=0.0, value=0.0, gains=None, **switches):
    """Five tokens ``base - step`` and one ``base + step``; uniform attention to value times each.

    Attention's output has the bias (1, 1, 1, 1).
    """
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=4, bias=True, **switches)
    way, zeros = STEP * np.array(WAYS[distance]), jnp.zeros((1, 4, 4))
    eye = jnp.eye(4)[None]
    arrays = {f"blocks.attention.{name}": zeros for name in ("query", "key")}
    arrays |= {"blocks.attention.value": value * eye, "blocks.attention.output": eye}
    arrays |= {"blocks.attention.output_bias": jnp.ones((1, 4))}
    arrays |= {"embed.table": jnp.asarray(base + np.stack([-way, way]))}
    for name, gain in (gains or {}).items():
        arrays[f"blocks.{name}.gain"] = jnp.full((1, 4), gain)
    if config.norm != PLAIN:
        arrays |= {"final_norm.gain": jnp.ones(4)}
    return config, arrays


def found(config, arrays, norm, length=5):
    tokens = jnp.asarray([0] * length + [1], jnp.int32)
    rows = rows_of(build_decoder(config, arrays), tokens, norm=norm)
    return rows, jax.device_get(certificate_of(rows, norm=norm))


def assert_attained(pair):
    # The slopes change by about the step along it; sixteen times that, and some, is allowed.
    assert (1 - 32 * STEP) * float(pair.bound[0]) < float(pair.measured[0])
    assert pair.holds(1e-15)[0]


def bound_without(rows, norm, part="out", **changed):
    """The bound of a layer with some of its constants replaced."""
    fields = {name: jnp.asarray([value]) for name, value in changed.items()}
    dropped = rows._replace(**fields)
    return float(getattr(certificate_of(dropped, norm=norm).layers, part).bound[0])


AFTER = {"norm": RMSNorm(eps=0.0), "norm_place": "after"}
GAINS = {"norm1_after": 3.0, "norm2_after": 0.5}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("weight", [0.75, 1.5])
def test_a_norm_of_attention_s_output_and_a_weighted_residual(norm, weight):
    """Attention's output moves by T R; of a negative part of the residual the size counts."""
    value = 1.0 if weight < 1 else -1.0  # so that both parts move one way
    config, arrays = layer_by_hand(
        norm, value=value, gains=GAINS, residual_weight=weight, mlp=ZeroMlp(), **AFTER
    )
    rows, certified = found(config, arrays, norm)
    mid = certified.layers.mid
    assert_attained(mid)
    drops = {"attn_norm_lipschitz": 1.0, "keep": 0.0, "share": 0.0}
    for name, value in drops.items():
        assert bound_without(rows, norm, "mid", **{name: value}) < 0.9 * float(mid.measured[0])
    # As if the residual were not weighted, attention's part is too small where its share is large.
    if weight > 1:
        assert bound_without(rows, norm, "mid", share=1.0) < float(mid.measured[0])


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_of_the_mlp_s_output(norm):
    """Attention adds (1, 1, 1, 1) alone; the MLP's output is steeper by its own norm."""
    config, arrays = layer_by_hand(
        norm, gains=GAINS | {"norm2_after": 5.0}, residual_weight=0.25,
        mlp=IdentityMlp(sigma=4.0), **AFTER,
    )  # fmt: skip
    rows, certified = found(config, arrays, norm)
    out = certified.layers.out
    assert_attained(out)
    # The rows are 0.25 times 3: the norm's slope is 5 over 4 times that, the MLP's 4.
    slope = 5.0 / (4 * 0.75) * (1.0 if norm == 2 else 1.5)
    np.testing.assert_allclose(rows.mlp_norm_lipschitz, slope, rtol=8 * STEP)
    for name, value in {"mlp_norm_lipschitz": 0.0, "keep": 0.0, "norm_lipschitz": 0.0}.items():
        assert bound_without(rows, norm, **{name: value}) < 0.9 * float(out.measured[0])
    assert bound_without(rows, norm, mlp_norm_lipschitz=1 / 4) < float(out.measured[0])


@pytest.mark.parametrize("norm", NORMS)
def test_a_parallel_block_grows_by_its_mlp_whatever_it_keeps(norm):
    config, arrays = layer_by_hand(
        norm, base=1.0, gains=GAINS, residual_weight=0.75, block="parallel",
        mlp=IdentityMlp(sigma=4.0), **AFTER,
    )  # fmt: skip
    rows, certified = found(config, arrays, norm)
    out = certified.layers.out
    assert_attained(out)
    # As if the MLP read the middle of the layer: (1 + s) / 4 for 1 / 4 + s.
    assert bound_without(rows, norm, parallel=False) < float(out.measured[0])
    assert bound_without(rows, norm, mlp_norm_lipschitz=0.0) < float(out.measured[0])
    assert bound_without(rows, norm, keep=0.0) < float(out.measured[0])


def test_all_terms_of_a_sequential_and_a_parallel_block_in_norm_two():
    """Residual, attention and MLP all move across (1, 1, 1, 1), and each has a norm of its own."""
    for block, base in (("sequential", 0.0), ("parallel", 1.0)):
        config, arrays = layer_by_hand(
            2, base=base, value=0.5, gains=GAINS, residual_weight=0.75, block=block,
            mlp=IdentityMlp(sigma=4.0), **AFTER,
        )  # fmt: skip
        rows, certified = found(config, arrays, 2)
        for pair in (certified.layers.mid, certified.layers.out):
            assert_attained(pair)
        assert float(certified.output.bound) == pytest.approx(
            float(certified.layers.out.bound[0]), rel=1e-12, abs=0
        )
        measured = float(certified.layers.out.measured[0])
        for name in ("keep", "share", "attn_norm_lipschitz", "mlp_norm_lipschitz"):
            assert bound_without(rows, 2, **{name: 0.0}) < 0.99 * measured, (block, name)


def test_logits_of_normed_queries_move_as_far_as_they_can():
    """Raw queries near (b, b, b, b) move across it, and all keys lie along the step.

    Without the root of the queries' norm, b = 1 / 4, the bound on the logits' change is exceeded.
    """
    config, arrays = layer_by_hand(
        2, base=0.25, qk_norm="head", mlp=ZeroMlp(), **AFTER, attn_scale=-0.5,
        gains={"norm1_after": 1.0, "norm2_after": 1.0, "attention.query_norm": 3.0}
        | {"attention.key_norm": 0.5},
    )  # fmt: skip
    arrays |= {"blocks.attention.query": jnp.eye(4)[None]}
    arrays |= {"blocks.attention.key": jnp.outer(np.array(WAYS[2]), np.ones(4))[None]}
    rows, certified = found(config, arrays, 2)
    moved = np.abs(np.asarray(rows.next_logits)[0, 0, :-1] - np.asarray(rows.logits)[0, 0])
    reached = float(rows.query_lipschitz[0, 0]) * float(certified.layers.error[0])
    # By hand: scale times gains of query and key, the squared length of the step, over the root.
    by_hand = 0.5 * 3.0 * 0.5 * 2 * STEP * 4 / 0.25
    np.testing.assert_allclose([*moved, reached], by_hand, rtol=32 * STEP)
    assert np.all(moved <= reached * (1 + 1e-12))
    assert np.all(moved > 2 * 0.25 * reached)  # what is left without the root


STEEPEST = {"silu": 2.3993572805, "gelu": 1.4185007}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", STEEPEST)
def test_a_gated_mlp_between_two_rows(activation, norm):
    """Its gate where it is steepest; with 1 for the activation's constant the bound is exceeded."""
    config, arrays = layer_by_hand(norm, norm=PLAIN, mlp=GatedMlp(activation=activation, dim=4))
    eye = jnp.eye(4)[None]
    arrays |= {f"blocks.mlp.{name}": eye for name in ("gate", "up", "down")}
    # One from attention's bias.
    arrays |= {"blocks.mlp.gate_bias": jnp.full((1, 4), STEEPEST[activation] - 1)}
    arrays |= {
        "blocks.mlp.up_bias": jnp.full((1, 4), 4.0),
        "blocks.mlp.down_bias": jnp.zeros((1, 4)),
    }
    rows, certified = found(config, arrays, norm)
    out = certified.layers.out
    assert_attained(out)
    size = float(rows.mlp_lipschitz[0])
    steepest = {"silu": 1.0998394, "gelu": 1.1289931}[activation]
    one = bound_without(rows, norm, mlp_lipschitz=size - (steepest - 1) * 5)  # u is 5 there
    assert one < float(out.measured[0])
