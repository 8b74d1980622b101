"""Formulas where they are attained: a factor, a sum or an index less, and these numbers differ."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model import (
    ConstantNorm,
    DecoderConfig,
    LinearMlp,
    NoNorm,
    ZeroMlp,
    build_decoder,
)
from glassesjax.theory.blocks import repaired_block_bound, repaired_bound, repaired_rollout
from glassesjax.theory.collapse import collapse_certificate
from glassesjax.theory.softmax import softmax_total_variation, tv_bound_mean, tv_bound_partition
from glassesjax.trace import block_stack, certificate_rows, printed_rollout

U = 2.0**-53  # unit roundoff of float64


@pytest.mark.parametrize("h", [2.0**-10, -(2.0**-20)])
def test_mean_form_of_the_softmax_bound_at_one_logit_of_a_hundred(h):
    n = 100
    x, x_star = np.zeros(n), h * np.eye(n)[0]
    three = (tv_bound_mean, tv_bound_partition, softmax_total_variation)
    mean, partition, distance = (float(jax.jit(one)(x, x_star)) for one in three)
    assert mean == pytest.approx(2 * math.exp(abs(h)) * abs(h) / n, rel=8 * U, abs=0)
    assert partition == pytest.approx(
        2 * abs(math.expm1(h)) / max(n, n - 1 + math.exp(h)), rel=n * U, abs=0
    )
    # Exactly: one weight moves, the others share what it leaves.
    exact = 2 * (n - 1) * abs(math.expm1(h)) / (n * (n - 1 + math.exp(h)))
    assert distance == pytest.approx(exact, rel=2 * n * U, abs=0)
    # All that the two bounds give away is this entry's own weight 1 / n, and orders of h.
    for bound in (mean, partition):
        assert (
            (1 - 1 / n) * (1 - 2 * abs(h)) * bound < distance < (1 - 1 / n) * (1 + abs(h)) * bound
        )


def pushing_decoder():
    """Uniform attention and two heads whose values all lie on the diagonal of the plane.

    Row n has tokens of -1 only, row n + 1 ends in a token of 1: each head moves by T R along
    (1, 1), the way in which the residual and the MLP, -3 times the identity over 2, move as well.
    """
    config = DecoderConfig(
        vocab_size=2, num_layers=2, num_heads=2, model_dim=2, norm=ConstantNorm(beta=2.0),
        mlp=LinearMlp(),
    )  # fmt: skip
    tile = lambda rows: jnp.tile(jnp.asarray(rows), (2, 1, 1))
    arrays = {f"blocks.attention.{name}": jnp.zeros((2, 2, 2)) for name in ("query", "key")}
    arrays |= {
        "blocks.attention.value": tile([[1.0, 0.0], [0.0, 1.0]]),
        "blocks.attention.output": tile([[0.5, 1.5], [0.5, 1.5]]),
        "blocks.mlp.down": tile([[3.0, 0.0], [0.0, 3.0]]),
        "embed.table": jnp.asarray([[-1.0, -1.0], [1.0, 1.0]]),
    }
    return build_decoder(config, arrays)


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_all_bounds_of_the_collapse_certificate_where_heads_push_one_way(norm):
    n, size = 5, {1: 2.0, 2: math.sqrt(2), "inf": 1.0}[norm]  # the norm of (1, 1)
    tokens = jnp.asarray([0] * n + [1], jnp.int32)
    rows = jax.jit(certificate_rows, static_argnames="norm")(pushing_decoder(), tokens, norm=norm)
    found = jax.jit(collapse_certificate, static_argnames="norm")(rows, norm=norm)
    found = jax.device_get(found)
    change, weight, grown, apart = 2 / (n + 1), (0.5 + 1.5) / 2, 1 + 3 / 2, 2.0
    by_hand = {"row_change": change, "by_increments": change, "self_weight": 1 / (n + 1)}
    tight = {"rtol": 64 * U}  # sums of six tokens, two heads and two coordinates, and two roots
    for name, value in by_hand.items():
        for side in getattr(found.layers, name):
            np.testing.assert_allclose(side, value, **tight)
    for layer in range(2):
        mid = apart + change * weight * apart / 2  # the radius is half the distance
        for pair, distance in ((found.layers.mid, mid), (found.layers.out, grown * mid)):
            np.testing.assert_allclose([side[layer] for side in pair], distance * size, **tight)
        apart = grown * mid
        np.testing.assert_allclose(found.propagated[layer + 1], apart * size, **tight)
    np.testing.assert_allclose(found.output, apart * size, **tight)


def test_increments_of_the_collapse_certificate_by_hand():
    """Known constants: 2 e^D (L_q e + step) + 2 alpha, each of the numbers different."""
    tokens = jnp.asarray([0, 0, 1], jnp.int32)
    rows = jax.jit(certificate_rows, static_argnames="norm")(pushing_decoder(), tokens, norm=2)
    raised = np.array(rows.next_logits)
    raised[0, 0, 0] = 0.25
    rows = rows._replace(
        next_logits=jnp.asarray(raised),
        query_lipschitz=jnp.asarray([[0.3, 0.7], [0.2, 0.1]]),
        increment=jnp.asarray([[0.05, 0.02], [0.01, 0.0]]),
    )
    found = jax.jit(collapse_certificate, static_argnames="norm")(rows, norm=2).layers
    ranges = np.asarray([[0.25, 0.0], [0.0, 0.0]])
    moved = np.asarray(rows.query_lipschitz) * np.asarray(found.error)[:, None] + rows.increment
    np.testing.assert_allclose(found.hypotheses.logit_range, ranges)
    by_hand = 2 * np.exp(ranges) * moved + 2 / 3
    np.testing.assert_allclose(found.by_increments.bound, by_hand, rtol=16 * U)


WEIGHTS = ("query", "key", "value", "output")
LAYERS = ((0.8, 1.25, 0.5, -1.5, 0.75), (-0.5, 0.6, 1.1, 0.9, -0.4))  # and of the MLP
BETA, TOKENS = 2.0, jnp.asarray([0, 1, 2], jnp.int32)
TABLE = (0.5, -1.0, 2.0)


def decoder_of_width_one(layers, table, **switches):
    config = DecoderConfig(vocab_size=len(table), num_layers=len(layers), model_dim=1, **switches)
    column = lambda at: jnp.asarray(layers, float)[:, at, None, None]
    arrays = {f"blocks.attention.{name}": column(at) for at, name in enumerate(WEIGHTS)}
    if config.mlp.kind == "linear":
        arrays["blocks.mlp.down"] = column(4)
    return build_decoder(config, arrays | {"embed.table": jnp.asarray(table)[:, None]})


def layer_by_hand(v, numbers, scale, share, parallel):
    """What a layer of width one does with numbers, and (B.5) repaired, entry by entry."""
    query, key, value, output, mlp = numbers
    length, x, w, keep = len(v), v / BETA, value * output, 1 - share
    bound, mid = np.zeros((length, length)), np.zeros(length)
    for j in range(length):
        q = scale * query * x[j]
        weights = np.exp(q * key * x[: j + 1])
        weights = weights / weights.sum()
        mean = sum(a * w * y for a, y in zip(weights, x, strict=False))
        covariance = sum(a * (w * y - mean) * key * y for a, y in zip(weights, x, strict=False))
        for i in range(j + 1):
            steep = abs(w * x[i] - mean) * abs(key * q)
            bound[j, i] = abs(share) * weights[i] * (abs(w) + steep) / BETA
        bound[j, j] += abs(share) * abs(scale * query) * abs(covariance) / BETA + abs(keep)
        mid[j] = keep * v[j] + share * mean
    if parallel:
        return mid + mlp * v / BETA, bound + np.eye(length) * abs(mlp) / BETA
    return mid + mlp * mid / BETA, (1 + abs(mlp) / BETA) * bound


stack_of = jax.jit(block_stack)


@jax.jit
def bounds_of(stack):
    """By itself: stacks of as many layers and tokens are one program, whatever the scale."""
    layers = jax.lax.map(
        lambda layer: repaired_block_bound(*layer, stack.turns[0]), (stack.heads, stack.constants)
    )
    rolled = repaired_rollout(stack, rows=2)
    return layers, repaired_bound(stack), jnp.exp(rolled.log_gain) * rolled.profile[0]


@jax.jit
def slopes_of(decoder, resid):
    """Of the last representation, which is one number."""
    return jax.grad(lambda v: decoder.represent(v)[0][-1, 0])(resid)


CASES = {
    "scale_half_weighted": {"attn_scale": 0.5, "residual_weight": 0.3},
    "scale_minus_two_parallel": {
        "attn_scale": -2.0,
        "residual_weight": 1.3,
        "block": "parallel",
    },
}


@pytest.mark.parametrize("switches", CASES.values(), ids=CASES)
def test_repaired_bound_of_width_one_is_the_formula_by_hand(switches):
    norm, mlp = ConstantNorm(beta=BETA), LinearMlp()
    decoder = decoder_of_width_one(LAYERS, TABLE, norm=norm, mlp=mlp, **switches)
    scale, share = switches["attn_scale"], switches["residual_weight"]
    blocks, whole, rolled = jax.device_get(bounds_of(stack_of(decoder, TOKENS)))
    v, product = np.asarray(TABLE), np.eye(3)
    close = {"rtol": 256 * U}  # two exponentials of logits of a few units, sums of three
    for numbers, block in zip(LAYERS, blocks, strict=True):
        parallel = decoder.config.block == "parallel"
        v, by_hand = layer_by_hand(v, numbers, scale, share, parallel)
        np.testing.assert_allclose(block, by_hand, **close)
        product = by_hand @ product
    np.testing.assert_allclose(whole, product[-1] / BETA, **close)
    np.testing.assert_allclose(rolled, product[-1] / BETA, **close)


# The derivative by the token itself, by the one before: all of their terms have one sign.
@pytest.mark.parametrize(
    ("scale", "table", "token"), [(0.5, (0.5, 2.0), 1), (0.5, (2.0, 0.5), 0), (-2.0, (0.5, 2.0), 0)]
)
def test_repaired_bound_of_width_one_is_the_derivative(scale, table, token):
    """Key terms and the query's, both times the scale, beside the plain ones."""
    settings = {"attn_scale": scale, "residual_weight": 0.3, "norm": NoNorm()}
    decoder = decoder_of_width_one([(0.8, 1.25, 2.0, 1.5, 0)], table, mlp=ZeroMlp(), **settings)
    bound = np.asarray(bounds_of(stack_of(decoder, TOKENS[:2]))[1])
    truth = slopes_of(decoder, jnp.asarray(table)[:, None])
    assert float(truth[token, 0]) == pytest.approx(float(bound[token]), rel=64 * U, abs=0)


# The first: all terms of one sign, so nothing is lost. The second: the key term is 11 times the
# plain one and of the other sign, so that the printed bound is exceeded tenfold.
@pytest.mark.parametrize(("first", "second"), [(2.0, 0.5), (-10.0, 1.0)])
def test_two_tokens_of_width_one_by_hand(first, second):
    """W = 1, no norm, no MLP: z_2 = v_2 + a v_1 + (1 - a) v_2, where a is a sigmoid."""
    config = DecoderConfig(vocab_size=2, num_layers=1, model_dim=1, norm=NoNorm(), mlp=ZeroMlp())
    names = ("query", "key", "value", "output")
    arrays = {f"blocks.attention.{name}": jnp.ones((1, 1, 1)) for name in names}
    table = jnp.asarray([[first], [second]])
    decoder = build_decoder(config, arrays | {"embed.table": table})
    tokens = jnp.asarray([0, 1], jnp.int32)
    stack = stack_of(decoder, tokens)
    (bound,), whole, _ = jax.device_get(bounds_of(stack))
    a = 1 / (1 + np.exp(second * second - first * second))
    mean = a * first + (1 - a) * second
    plain, steep = a, a * (first - mean) * second
    covariance = a * (first - mean) * first + (1 - a) * (second - mean) * second
    own = 1 + (1 - a) * (1 + abs(second - mean) * abs(second)) + abs(covariance)
    by_hand = [[2.0, 0.0], [plain + abs(steep), own]]
    close = {"rtol": 256 * U}  # a logit of ten, rounded, is in an exponential
    np.testing.assert_allclose(bound, by_hand, **close)
    np.testing.assert_allclose(whole, by_hand[1], **close)
    printed = jax.device_get(jax.jit(printed_rollout)(stack))
    alone = np.exp(printed.log_gain) * printed.profile[0]
    np.testing.assert_allclose(alone, [a, 2 - a], **close)
    truth = np.asarray(slopes_of(decoder, table))[:, 0]
    np.testing.assert_allclose(truth[0], plain + steep, **close)
    assert abs(float(truth[1])) <= own
    exceeds = abs(float(truth[0])) / a
    assert exceeds > 9.9 if first < 0 else exceeds == pytest.approx(1 + steep / a)
