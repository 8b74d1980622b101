"""Certificates: the ball decoder against the library's, and that nothing false is certified."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.model.config import (
    Alibi,
    ConstantNorm,
    DecoderConfig,
    DenseMlp,
    LinearMlp,
    NoNorm,
    RMSNorm,
    Rotary,
    ZeroMlp,
)
from glassesjax.model.decoder import Decoder
from glassesjax.theory.dispersion import last_weight_drop
from glassesjax.theory.sharpness import inverse_temperature
from glassesjax.theory.squashing import path_bound
from glassesjax.trace.certificate import certificate_rows

flint = pytest.importorskip("flint")
balls = pytest.importorskip("proofs_numeric.support.balls")
ball_decoder = pytest.importorskip("proofs_numeric.support.ball_decoder")
enclosures = pytest.importorskip("proofs_numeric.support.enclosures")
follow_up = pytest.importorskip("proofs_numeric.support.follow_up_enclosures")
squashing = pytest.importorskip("proofs_numeric.support.squashing_enclosures")

arb = flint.arb
U = 2.0**-53  # unit roundoff of float64

TOKENS = jnp.array([0, 3, 1, 2, 2])
SMALL = {"vocab_size": 5, "model_dim": 4}
CONFIGS = {
    "heads": DecoderConfig(
        num_heads=2, norm=RMSNorm(offset=1.0), positions=Alibi(), mlp=DenseMlp(dim=8), **SMALL
    ),
    "paper": DecoderConfig(
        values="identity",
        norm=ConstantNorm(beta=1.5),
        mlp=DenseMlp(activation="gelu_exact", dim=6),
        **SMALL,
    ),
    "bare": DecoderConfig(
        num_layers=1, num_heads=2, norm=NoNorm(), mlp=LinearMlp(), attn_scale=2.0, **SMALL
    ),
}
ENCLOSURES = [
    (module, name)
    for module, names in (
        (enclosures, ("lem_b1", "lem_b2", "prop_b4", "dispersion", "thm_4_2")),
        (squashing, ("thm_5_1", "thm_5_1_true", "err_e07", "err_e10")),
        (follow_up, ("adaptive_temperature", "pure_attention")),
    )
    for name in names
]


@pytest.fixture(autouse=True)
def precision():
    with flint.ctx.workprec(balls.PRECISION):
        yield


def drawn(name):
    """A decoder of random weights, also gains; drawn by NumPy, which compiles nothing."""
    shapes = jax.eval_shape(lambda: Decoder(CONFIGS[name], key=jax.random.key(0), dtype="float64"))
    rng = np.random.default_rng(len(name))
    fill = lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2)
    return jax.tree.map(fill, shapes)


def enclosed(decoder):
    """The library's decoder in balls, weight by weight."""
    config, blocks = decoder.config, decoder.blocks
    dim, heads = config.model_dim, config.num_heads
    of = lambda param, default: default if param is None else np.asarray(param[...])
    eye = np.broadcast_to(np.eye(dim), (config.num_layers, dim, dim))
    one = np.ones((config.num_layers, dim))
    attention, mlp = blocks.attention, blocks.mlp
    stacked = {
        "query": of(attention.query, eye).reshape(-1, heads, config.key_dim, dim),
        "key": of(attention.key, eye).reshape(-1, heads, config.key_dim, dim),
        "value": of(attention.value, eye).reshape(-1, heads, config.value_dim, dim),
        "output": of(attention.output, eye).reshape(-1, dim, heads, config.value_dim),
        "up": of(mlp.up, eye),
        "down": of(mlp.down, eye),
    }
    stacked["output"] = stacked["output"].transpose(0, 2, 1, 3)
    gains = of(blocks.norm1.gain, one), of(blocks.norm2.gain, one)
    layers = [
        ball_decoder.layer_balls(
            {name: weight[layer] for name, weight in stacked.items()},
            *(gain[layer] for gain in gains),
            config,
        )
        for layer in range(config.num_layers)
    ]
    gain = ball_decoder.gain_balls(of(decoder.final_norm.gain, one[0]), config)
    return ball_decoder.BallDecoder(config=config, layers=tuple(layers), gain=gain)


@jax.jit
def last_and_jacobians(decoder, resid):
    """The last representation, and its derivatives with moving and with fixed weights."""
    last = lambda resid, freeze: decoder.represent(resid, freeze_attention=freeze)[0][-1]
    jacobian = jax.jacrev(last)
    return last(resid, False), jacobian(resid, False), jacobian(resid, True)


def assert_held(found, values, roundoff):
    """Every float is within a counted roundoff of its ball."""
    for ball, value in zip(np.ravel(found), np.ravel(values), strict=True):
        assert arb(float(value), roundoff).overlaps(ball)
        assert ball.rad() < arb(2) ** -200


@pytest.mark.parametrize("name", CONFIGS)
def test_the_decoder_holds_the_library_s_and_its_jacobian(name):
    decoder = drawn(name)
    resid = decoder.enter(TOKENS)
    values, *jacobians = last_and_jacobians(decoder, resid)
    again = enclosed(decoder)
    found, traces = again.run(balls.enclose(resid))
    # Two layers of sums over at most 8 entries, each of size at most 8 and in a chain of ten.
    roundoff = 2 * 8 * 8 * 10 * U
    assert_held(found[-1], values, roundoff)
    for frozen, jacobian in zip((False, True), jacobians, strict=True):
        assert_held(again.jacobian(traces, frozen=frozen), jacobian, 8 * roundoff)
    assert np.max(np.abs(jacobians[0] - jacobians[1])) > 1e-3  # the weights do move


def test_a_decoder_that_balls_do_not_know():
    config = dataclasses.replace(CONFIGS["heads"], positions=Rotary())
    with pytest.raises(
        ValueError, match="with positions, norm, temperature and MLP that balls support"
    ):
        ball_decoder.BallDecoder.drawn(config, seed=0)


def test_what_theorem_4_2_needs_holds_the_library_s():
    norm = 1
    decoder = drawn("heads")
    rows = jax.device_get(jax.jit(certificate_rows, static_argnums=2)(decoder, TOKENS, norm))
    again = enclosed(decoder)
    _, traces = again.run(balls.enclose(np.asarray(jax.jit(decoder.enter)(TOKENS))))
    for index, found in enumerate(traces):
        mine = enclosures._Rows(again, index, found, norm)
        # Rows' differences lose what the rows have in common; the segment's nearest point too.
        roundoff = 2.0**-40
        assert_held(mine.own, rows.next_weights[index, :, -1], roundoff)
        apart = np.ravel(np.diff(rows.resid_out[index], axis=0))
        assert_held(mine.apart(found.resid_out), np.linalg.norm(apart, ord=norm), roundoff)
        factor = 1 + rows.mlp_lipschitz[index] * rows.norm_lipschitz[index]
        # The library rounds GELU's constant up by less than 1e-7.
        assert float(mine.mlp_factor) == pytest.approx(float(factor), rel=1e-7, abs=0)
        assert mine.mlp_factor < arb(float(factor)) * (1 + arb(roundoff))
        for head in range(2):
            steep = float(mine.query_lipschitz(head))
            assert steep == pytest.approx(
                float(rows.query_lipschitz[index, head]), rel=roundoff, abs=0
            )
            assert again.slopes[head] == rows.increment[index, head]
            assert balls.lower(mine.radii[head]) >= rows.radius[index, head] * (1 - roundoff)


def test_the_slope_of_a_norm_covers_the_segment_of_rows_that_may_be_equal():
    decoder = ball_decoder.BallDecoder.drawn(DecoderConfig(norm=RMSNorm(eps=0.0), **SMALL), seed=0)
    rows = balls.enclose(np.ones((2, 4)))
    rows[1] = arb(1, 0.125)
    mine = enclosures._Rows(decoder, 0, None, 2)
    # The second row may be down to 7/8, which is its size.
    assert balls.upper(mine.norm_lipschitz(rows, balls.enclose(np.ones(4)))) >= 8 / 7
    far = balls.enclose([[1.0, 0, 0, 0], [-1.0, 1.0, 0, 0]])  # nearest to zero at 2/5 of the way
    slope = mine.norm_lipschitz(far, balls.enclose(np.ones(4)))
    assert slope.contains(2 * arb(5).sqrt())  # (1/5, 2/5): size sqrt(1/5) / 2


def test_the_path_sum_holds_the_library_s():
    config = squashing._config(DenseMlp(dim=8), layers=2, beta=1.5)
    passed = squashing._Pass.of(ball_decoder.BallDecoder.drawn(config, seed=1), 5)
    weights = jnp.stack([jnp.asarray(balls.midpoints(t.weights[0])) for t in passed.traces])
    sigma = jnp.asarray([float(passed.sigma(layer)) for layer in range(2)])
    betas = jnp.full(2, 1.5)
    values = path_bound(weights, betas, betas, jnp.asarray(1.5), sigma)
    found = balls.midpoints(squashing._path_bound(passed))
    np.testing.assert_allclose(found, values, rtol=2.0**-36)  # norms are enclosed to 2^-40


def test_the_drop_holds_the_library_s():
    rows = {row.setting: row for row in enclosures.lem_b1()}
    logits = np.random.default_rng(5).normal(size=(2, 5))[0]  # n = 4, scale one
    drop = last_weight_drop(jnp.asarray(np.delete(logits, -2)), jnp.asarray(logits[-2]))
    found = rows["bound, n=4, scale=1.0"].measured
    assert found == pytest.approx(float(drop), rel=2 * (5 + 8) * U, abs=0)


@pytest.mark.parametrize(("module", "name"), ENCLOSURES, ids=[name for _, name in ENCLOSURES])
def test_every_certificate_holds(module, name):
    found = getattr(module, name)()
    assert len({each.setting for each in found}) == len(found) > 1
    for each in found:
        assert each.verdict == "holds", each
        assert each.certified
        assert each.roundoff == 0
        assert each.hypotheses


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (enclosures, "lem_b2"),
        (enclosures, "dispersion"),
        (squashing, "thm_5_1_true"),
        (follow_up, "adaptive_temperature"),
        (follow_up, "pure_attention"),
    ],
)
def test_the_reverse_of_an_inequality_is_not_certified(module, name, monkeypatch):
    straight = enclosures.certified
    reverse = lambda setting, left, right, **more: straight(setting, right, left, **more)
    monkeypatch.setattr(module, "certified", reverse)
    assert {each.verdict for each in getattr(module, name)()} == {"violated"}


def test_the_polynomial_in_balls_is_the_library_s():
    for entropy in (1.0, 2.0, 5.0, 5.9):
        value, slope, *_ = follow_up._shifted(arb(entropy))
        assert float(value) == pytest.approx(float(inverse_temperature(jnp.array(entropy))))
        ahead = follow_up._shifted(arb(entropy) + arb(2) ** -60)[0]
        assert float((ahead - value) * arb(2) ** 60) == pytest.approx(float(slope))
    rows = {row.setting: row for row in follow_up.adaptive_temperature()}
    assert rows["factor below 2.4214 up to the entropy ln 382"].measured > 2.421


def test_a_smaller_bound_is_not_certified(monkeypatch):
    """The bound that presumes weights held fixed, for the derivative of weights that move."""
    config = squashing._config(ZeroMlp(), layers=2, beta=1.0, attn_scale=6.0)
    passed = squashing._Pass.of(ball_decoder.BallDecoder.drawn(config, seed=3), 5)
    bare = squashing._path_bound(passed)
    found = list(squashing._below("fixed", passed, bare))
    assert {each.verdict for each in found} == {"not_applicable"}
    without = [dataclasses.replace(each, hypotheses=()) for each in found]
    assert any(each.verdict == "violated" for each in without)


def test_balls_that_overlap_certify_nothing():
    third = arb(1) / 3
    assert enclosures.certified("equal", third, third).verdict == "violated"
    wide = enclosures.certified("wide", arb(1, 0.5), arb(1.25, 0.5))
    assert wide.measured >= 1.5 > 0.75 >= wide.bound
    assert wide.verdict == "violated"
    assert enclosures.certified("unknown", arb.nan(), arb(1)).verdict == "violated"
    assert enclosures.certified("infinite", arb(1), arb.pos_inf()).verdict == "violated"


def test_an_identity_has_to_hold_zero_and_be_narrow():
    narrow = arb(2) ** -120
    assert enclosures.identity("zero", arb(0, narrow)).verdict == "holds"
    assert enclosures.identity("apart", 2 * narrow + arb(0, narrow)).verdict == "violated"
    assert enclosures.identity("wide", arb(0, 2.0**-90)).verdict == "violated"


def test_hypotheses_are_measured():
    assert enclosures.finite(balls.enclose([1.0, math.nan, math.inf])).distance == 2
    assert not enclosures.stochastic(balls.enclose([[0.5, 0.25]])).met
    assert enclosures.stochastic(balls.enclose([[0.5, 0.5]])).met
