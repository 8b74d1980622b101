"""From a decoder to Theorem 4.2: the rows it makes, and the certificate where it applies."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_decoders import made, passed

from glassesjax.model import (
    Alibi,
    Bidirectional,
    Causal,
    ConstantNorm,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    IdentityMlp,
    LayerNorm,
    Learned,
    LinearMlp,
    MaskByLayer,
    NoNorm,
    NoPositions,
    Positions,
    PositionsByLayer,
    Prefix,
    RMSNorm,
    Rotary,
    Sinusoidal,
    Window,
    ZeroMlp,
)
from glassesjax.theory.collapse import collapse_certificate
from glassesjax.theory.norms import chebyshev_radius_bound
from glassesjax.trace import certificate_rows
from glassesjax.trace.constants import GELU_EXACT_LIPSCHITZ, GELU_LIPSCHITZ
from glassesjax.trace.pair_slopes import norm_pair_slope

U = 2.0**-53
NORMS = [1, 2, "inf"]
LAYERS, HEADS, DIM, TOKENS = 3, 2, 8, (0, 3, 1, 5, 2, 4, 1, 1)
FIELDS = ("mid", "out", "row_change", "by_increments", "self_weight")
CONFIG = DecoderConfig(
    vocab_size=6,
    num_layers=LAYERS,
    num_heads=HEADS,
    model_dim=DIM,
    mlp=IdentityMlp(sigma=0.7),
    embed_scale=DIM**0.5,
)


rows_of = jax.jit(certificate_rows, static_argnames="norm")
# By itself, since rows of all decoders have one shape: it is compiled once a norm.
certificate_of = jax.jit(collapse_certificate, static_argnames="norm")
radius_bound = jax.jit(chebyshev_radius_bound, static_argnames="norm")


def certified(decoder, tokens, norm):
    rows = rows_of(decoder, tokens, norm=norm)
    return rows, certificate_of(rows, norm=norm)


def certificate(key, tokens=TOKENS, distance=2, **switches):
    config = dataclasses.replace(CONFIG, **switches)
    decoder = made(config, key)
    return certified(decoder, jnp.asarray(tokens, jnp.int32), distance)


def roundoff(rows):
    """What rounding may do to a distance or a weight.

    Two rows; in each layer, head for head, a sum over tokens and three products over the width or
    over four widths. Entries are at most the L1 norm of a row; a logit passes its own rounding,
    a product over the width of numbers within its range, on to the weights.
    """
    size = float(np.max(np.sum(np.abs(rows.resid_out), axis=-1)))
    logits = np.asarray(rows.next_logits)
    finite = np.where(np.isfinite(logits), logits, 0)
    steps = len(TOKENS) + 3 * 4 * DIM
    return 2 * LAYERS * HEADS * steps * U * max(size, 1) * (1 + float(np.max(np.abs(finite))))


def assert_holds(rows, found, apart=()):
    allowed = roundoff(rows)
    assert allowed < 1e-9  # the states are of size ten to a hundred: nothing false slips through
    for name in FIELDS:
        pair = jax.tree.map(np.asarray, getattr(found.layers, name))
        assert bool(np.all(pair.applies)) == (name not in apart), name
        assert bool(np.all(pair.holds(allowed))) == (name not in apart), name


# Of a negative scale, the size counts.
LINEAR = {
    "mlp": LinearMlp(),
    "norm": ConstantNorm(beta=2.0),
    "positions": Alibi(),
    "attn_scale": -0.7,
}


@pytest.mark.parametrize(
    ("switches", "norm"),
    [
        *(pytest.param(LINEAR, norm, id=f"linear_alibi-{norm}") for norm in NORMS),
        # Norms 1 and inf of these switches: by hand in test_constants, and gelu_rms below.
        *(
            pytest.param({}, norm, id=f"none-{norm}", marks=[pytest.mark.slow] * (norm != 2))
            for norm in NORMS
        ),
    ],
)
def test_all_five_inequalities_hold(key, switches, norm):
    rows, found = certificate(key, distance=norm, **switches)
    assert bool(found.equal_tokens)
    assert_holds(rows, found)
    assert bool(found.output.holds(roundoff(rows)))
    assert 0 < float(found.output.measured) < float(found.output.bound)


@pytest.mark.parametrize(
    "positions",
    [
        pytest.param(Rotary(), id="Rotary"),
        pytest.param(Sinusoidal(where="query_key"), id="Sinusoidal", marks=pytest.mark.slow),
        pytest.param(Learned(), id="Learned", marks=pytest.mark.slow),
        pytest.param(
            PositionsByLayer(layers=(Rotary(base=10.0), NoPositions(), Alibi())), id="by_layer"
        ),
    ],
)
def test_positional_steps_are_what_moves_the_logits_of_equal_rows(key, positions):
    """In the first layer both rows have one query, so that nothing else moves a logit."""
    rows, found = certificate(key, positions=positions)
    assert_holds(rows, found)
    embedded = isinstance(positions, Learned)
    assert bool(found.equal_tokens) != embedded
    if embedded:  # no position turns a query, but the two rows differ
        np.testing.assert_array_equal(rows.increment, 0)
        return
    moved = np.abs(np.asarray(rows.next_logits[0, :, :-1] - rows.logits[0]))
    np.testing.assert_allclose(rows.increment[0], moved.mean(-1), rtol=1e-9)
    # Without the step only the last weight is left, which moves less than the first layer's rows.
    still = rows._replace(increment=jnp.zeros_like(rows.increment))
    bound = certificate_of(still, norm=2).layers.by_increments
    assert not np.any(np.asarray(bound.holds(roundoff(rows)))[0])


def test_each_layer_steps_by_its_own_positions(key):
    """Between two layers that turn fast one that hardly turns has hardly a step."""
    fast, slow = Rotary(base=1.5), Rotary(base=1e8, scale=1e6)
    both = PositionsByLayer(layers=(fast, slow, fast))
    rows, _ = certificate(key, positions=both)
    steps = np.asarray(rows.increment).mean(-1)
    assert steps[1] < 1e-4 * min(steps[0], steps[2])
    # The logits of a layer that hardly turns move with its queries alone.
    moved = np.abs(np.asarray(rows.next_logits[:, :, :-1] - rows.logits)).max(-1)
    reached = np.asarray(rows.query_lipschitz) * np.linalg.norm(
        np.diff(rows.resid, axis=1)[:, 0], axis=-1
    ).reshape(-1, 1)
    assert np.all(moved[1] <= reached[1] + 8 * np.asarray(rows.increment)[1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unknown(Positions):
    """Positions of one's own that do not say what they do to a derivative."""

    def turn(self, x, position):
        return x * (1 + position.astype(x.dtype))[:, None, None]


def test_steps_of_positions_without_a_rotation_are_unknown(key):
    rows, found = certificate(key, positions=Unknown())
    assert_holds(rows, found, apart=("by_increments",))


SWITCHES = {
    "gelu_rms": {"mlp": DenseMlp(), "norm": RMSNorm(offset=1.0)},
    "gelu_layer": {
        "mlp": DenseMlp(activation="gelu_exact"),
        "norm": LayerNorm(),
        "positions": Alibi(),
    },
    "linear_constant": {"mlp": LinearMlp(), "norm": ConstantNorm(beta=2.0)},
    "zero_none": {"mlp": ZeroMlp(), "norm": NoNorm(), "values": "identity"},
    "identity_values": {"values": "identity", "norm": LayerNorm()},
    "grouped": {"num_kv_heads": 1, "head_dim": 6, "qkv_bias": True, "attn_softcap": 2.0},
}


# Each switch in one norm: the five inequalities above have all three. What is slow differs from a
# quick one by nothing but which switches come together.
@pytest.mark.parametrize(
    ("switches", "norm"),
    [
        pytest.param(
            switches,
            norm,
            id=name,
            marks=[pytest.mark.slow] * (name in ("linear_constant", "identity_values")),
        )
        for (name, switches), norm in zip(SWITCHES.items(), 2 * NORMS, strict=True)
    ],
)
def test_it_holds_for_every_switch_and_for_rows_far_apart(key, switches, norm):
    for tokens in (TOKENS, (*TOKENS[:-1], 2)):
        rows, found = certificate(key, tokens, norm, **switches)
        assert_holds(rows, found)


def test_a_gated_mlp_has_a_slope_between_the_two_rows(key):
    rows, found = certificate(key, mlp=GatedMlp())
    assert_holds(rows, found)
    assert bool(found.output.holds(roundoff(rows)))


def test_a_window_that_moves_on_breaks_the_range_of_the_logits(key):
    rows, found = certificate(key, mask=Window(width=3))
    layers = jax.tree.map(np.asarray, found.layers)
    assert np.all(np.isinf(layers.hypotheses.logit_range))
    assert np.all(layers.by_increments.applies)
    assert not np.any(layers.by_increments.holds(1.0))
    assert np.all(layers.mid.holds(roundoff(rows)))


@pytest.mark.parametrize("norm", NORMS)
def test_constants_of_a_linear_layer_worked_out_by_hand(key, norm):
    decoder = made(dataclasses.replace(CONFIG, **LINEAR), key)
    tokens = jnp.asarray(TOKENS, jnp.int32)
    rows, _ = certified(decoder, tokens, norm)
    order = np.inf if norm == "inf" else norm
    sizes = [np.linalg.norm(weight, order) for weight in np.asarray(decoder.blocks.mlp.down[...])]
    np.testing.assert_allclose(rows.mlp_lipschitz, sizes, rtol=8 * DIM * U)  # two SVDs
    np.testing.assert_array_equal(rows.norm_lipschitz, 0.5)
    np.testing.assert_array_equal(rows.increment, np.tile([2.0**-4, 2.0**-8], (LAYERS, 1)))
    resid = np.asarray(decoder.enter(tokens)) / 2
    attention, width = decoder.blocks.attention, DIM // HEADS
    weights = {
        name: np.asarray(getattr(attention, name)[...][0])
        for name in ("query", "key", "value", "output")
    }
    order_dual = {1: np.inf, 2: 2, "inf": 1}[norm]
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        output, value = weights["output"][:, part], weights["value"][part]
        radius = radius_bound(resid @ value.T @ output.T, norm)
        np.testing.assert_allclose(rows.radius[0, head], radius, rtol=32 * DIM * U)
        query, key_weight = weights["query"][part], weights["key"][part]
        gradient = np.linalg.norm(resid[:-1] @ key_weight.T @ query, order_dual, axis=-1)
        steepest = np.max(gradient) * 0.7 / 2
        np.testing.assert_allclose(rows.query_lipschitz[0, head], steepest, rtol=32 * DIM * U)


def test_rows_are_those_of_the_pass(key):
    decoder = made(CONFIG, key)
    tokens = jnp.asarray(TOKENS, jnp.int32)
    rows, _ = certified(decoder, tokens, 2)
    y, trace = jax.tree.map(np.asarray, passed(decoder, tokens))
    rows = jax.tree.map(np.asarray, rows)
    # Compiled and not: at most all of a row's sums ordered otherwise.
    close = functools.partial(np.testing.assert_allclose, rtol=1e4 * U, atol=roundoff(rows))
    close(rows.resid_out[:-1], trace.resid[1:, -2:])
    end = jax.jit(lambda resid: decoder.represent(resid, start=LAYERS)[0])
    close(end(rows.resid_out[-1]), y[-2:])
    close(rows.logits, trace.attn_logits[:, :, -2, :-1])
    close(rows.next_weights, trace.attn_weights[:, :, -1])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("setting", [RMSNorm(), LayerNorm()], ids=["rms", "layer"])
def test_norm_constants_bound_every_slope_on_the_segment(key, setting, norm):
    normalize = made(dataclasses.replace(CONFIG, norm=setting), key).final_norm
    removed = 1.0 if isinstance(setting, LayerNorm) else 0.0
    center = lambda x: x - removed * jnp.mean(x)
    scaled = lambda x: center(x) / jnp.sqrt(jnp.mean(center(x) ** 2) + setting.eps)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(scaled)))
    lipschitz = jax.jit(lambda pair: norm_pair_slope(normalize, pair, norm))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    pairs = rng.normal(size=(20, 2, DIM))
    shares = np.linspace(0, 1, 21)[:, None]
    order = np.inf if norm == "inf" else norm
    for pair in (*pairs, 100.0 * pairs[0] * np.eye(DIM)[:1], np.stack([pairs[0, 0]] * 2)):
        points = pair[:1] * (1 - shares) + pair[1:] * shares
        slopes = np.linalg.norm(np.asarray(jacobian(points)), order, (1, 2))
        assert slopes.max() <= float(lipschitz(pair)) * (1 + 16 * DIM * U)


@pytest.mark.parametrize(
    ("approximate", "constant"), [(True, GELU_LIPSCHITZ), (False, GELU_EXACT_LIPSCHITZ)]
)
def test_gelu_constants_are_the_largest_slopes(approximate, constant):
    slope = jax.grad(functools.partial(jax.nn.gelu, approximate=approximate))
    slopes = np.abs(jax.jit(jax.vmap(slope))(np.linspace(-8, 8, 20001)))
    # Spacing 8e-4 and curvature about one lose at most 1e-7.
    assert constant - 2e-7 < float(np.max(slopes)) <= constant + 8 * U


def test_different_last_tokens_are_seen(key):
    _, found = certificate(key, (*TOKENS[:-1], 2))
    assert not bool(found.equal_tokens)
    assert float(found.layers.error[0]) > 0.1  # nothing then forces a collapse


def test_positions_in_the_embedding_break_the_first_hypothesis(key):
    _, found = certificate(key, positions=Sinusoidal())
    assert not bool(found.equal_tokens)


@pytest.mark.parametrize(
    ("switches", "text"),
    [
        ({"mask": Bidirectional()}, "Causal or Window"),
        (
            {"mask": MaskByLayer(layers=(Causal(), Causal(), Prefix(length=2)))},
            r"Causal or Window\), got MaskByLayer",
        ),
    ],
    ids=["bidirectional", "one_layer"],
)
def test_other_masks_are_refused_in_any_layer(key, switches, text):
    with pytest.raises(ValueError, match=text):
        certificate(key, **switches)


def test_one_token_is_refused(key):
    with pytest.raises(ValueError, match="two tokens or more, got 1"):
        certificate(key, (1,))
