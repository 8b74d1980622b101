"""Theorem 5.1 against paths one by one, against Jacobians, and as printed, where it fails."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from squashing_reference import fractions, last_row, path_sums, plus_identity, random_causal

from glassesjax.theory.squashing import (
    SquashingBound,
    attention_rollout,
    multi_head_path_bound,
    path_bound,
    path_bound_corollary,
    path_bound_theorem,
    squashing_bound,
)

U = 2.0**-53  # unit roundoff of float64
L, N, D = 3, 5, 3
# A layer has a product row, of N terms, a share and a sum; the constant has four steps a layer.
ROUNDOFF = L * (N + 8) * U


def draw(seed):
    """Weights, divisors and Lipschitz constants, all different."""
    rng = np.random.default_rng(seed)
    positive = lambda *shape: jnp.array(np.exp(rng.normal(size=shape)))
    weights = jnp.array(random_causal(rng, L, N, N))
    return weights, positive(L), positive(L), positive(), positive(L)


def exact_bound(weights, beta1, beta2, beta3, sigma):
    """The proof's bound, path by path, in fractions."""
    weights, beta1, beta2, sigma = map(np.asarray, (weights, beta1, beta2, sigma))
    betas = [Fraction(float(beta)) for beta in beta1]
    layers = [
        plus_identity(fractions(weight), 1 / beta, 1)
        for weight, beta in zip(weights, betas, strict=True)
    ]
    gains = [1 + Fraction(float(s)) / Fraction(float(b)) for s, b in zip(sigma, beta2, strict=True)]
    constant = math.prod(gains) / Fraction(float(beta3))
    return [float(constant * total) for total in path_sums(layers)]


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=10)
def test_bound_is_the_sum_over_paths_and_has_a_normal_form(seed):
    args = draw(seed)
    bound, normal = path_bound(*args), squashing_bound(*args)
    np.testing.assert_allclose(bound, exact_bound(*args), rtol=ROUNDOFF)
    # The logarithm of the gain, a number of size 30 at most, is rounded before it is raised.
    np.testing.assert_allclose(normal.bound, bound, rtol=2 * ROUNDOFF + 40 * U)
    np.testing.assert_allclose(normal.log_bound, np.log(bound), rtol=0, atol=2 * ROUNDOFF + 80 * U)
    assert float(normal.profile.sum()) == pytest.approx(1, abs=2 * ROUNDOFF)
    assert (np.asarray(normal.profile) >= 0).all()


def model(weights, beta1, beta2, beta3, mlp):
    """The last representation with frozen attention and identity values."""

    def run(resid):
        for weight, b1, b2, layer in zip(weights, beta1, beta2, range(L), strict=True):
            mid = resid + weight @ resid / b1
            resid = mid + mlp(layer, mid / b2)
        return resid[-1] / beta3

    return run


def test_linear_mlps_attain_the_bound():
    weights, beta1, beta2, beta3, sigma = args = draw(0)
    linear = lambda layer, x: sigma[layer] * x
    resid = jnp.array(np.random.default_rng(1).normal(size=(N, D)))
    jacobian = jax.jit(jax.jacrev(model(weights, beta1, beta2, beta3, linear)))(resid)  # out seq d
    expected = np.asarray(path_bound(*args))[None, :, None] * np.eye(D)[:, None, :]
    np.testing.assert_allclose(jacobian, expected, rtol=2 * ROUNDOFF, atol=0)


@jax.jit
def sensitivity(resid, maps, weights, beta1, beta2, beta3, sigma):
    """Operator norms of the derivative, with MLPs of Lipschitz constant sigma in norm 2."""
    turns = jnp.linalg.qr(maps)[0]
    waves = lambda layer, x: sigma[layer] * jnp.sin(x @ turns[layer])
    jacobian = jax.jacrev(model(weights, beta1, beta2, beta3, waves))(resid)
    return jnp.linalg.norm(jacobian.transpose(1, 0, 2), ord=2, axis=(-2, -1))


@pytest.mark.parametrize("seed", range(20))
def test_frozen_attention_is_within_the_bound(seed):
    args, rng = draw(seed), np.random.default_rng(seed + 100)
    resid, maps = (jnp.array(rng.normal(size=shape)) for shape in ((N, D), (L, D, D)))
    # Besides the bound's own error, sines near one and three products of matrices of width D.
    allowed = 1 + 4 * ROUNDOFF + 40 * L * D * U
    found, bound = np.asarray(sensitivity(resid, maps, *args)), np.asarray(path_bound(*args))
    assert (found <= bound * allowed).all()


def test_attention_that_depends_on_the_values_breaks_the_hypothesis_and_the_bound():
    # Two tokens 1 and -1, logits 3 v_j v_n, first weight p: dz_2/dv_1 = p (1 - 6 (1 - p)).
    scale = jnp.array(3.0)

    def attend(resid):
        return resid[1] + jax.nn.softmax(scale * resid[1] * resid) @ resid

    resid = jnp.array([1.0, -1.0])
    weights = jax.nn.softmax(scale * resid[1] * resid)
    p = 1 / (1 + math.exp(6))
    bound = path_bound(
        jnp.stack([jnp.eye(2)[0], weights])[None],
        jnp.ones(1),
        jnp.ones(1),
        jnp.ones(()),
        jnp.zeros(1),
    )
    ratio = float(jax.jit(jax.jacrev(attend))(resid)[0] / bound[0])
    assert ratio == pytest.approx(1 - 6 * (1 - p), rel=32 * U, abs=0)
    assert abs(ratio) > 4


def test_the_theorem_as_printed_is_false_unless_two_divisors_agree():
    weights, _, beta2, beta3, sigma = draw(2)
    same = path_bound(weights, beta2, beta2, beta3, sigma)
    printed = path_bound_theorem(weights, beta2, beta3, sigma)
    np.testing.assert_allclose(printed, same, rtol=ROUNDOFF)
    # One layer, a half on each token, beta1 = 1, beta2 = 4, no MLP: the derivative is one half.
    half = jnp.array([[[1.0, 0.0], [0.5, 0.5]]])
    one, four, zero = jnp.ones(1), jnp.full(1, 4.0), jnp.zeros(1)
    assert path_bound(half, one, four, jnp.ones(()), zero)[0] == 0.5  # attained: see above
    assert path_bound_theorem(half, four, jnp.ones(()), zero)[0] == 0.125


def test_the_appendix_as_printed_is_false_without_an_mlp():
    weights, beta1, beta2, _, sigma = draw(3)
    printed = path_bound_corollary(weights, beta1, sigma)
    by_paths = path_sums(
        [
            plus_identity(fractions(w), 1 / Fraction(float(b)), 1 / Fraction(float(b)))
            for w, b in zip(np.asarray(weights), np.asarray(beta1), strict=True)
        ]
    )
    expected = [float(total) * float(jnp.prod(sigma)) for total in by_paths]
    np.testing.assert_allclose(printed, expected, rtol=ROUNDOFF)
    nothing = jnp.zeros(L)
    assert (np.asarray(path_bound_corollary(weights, beta1, nothing)) == 0).all()
    identity = jnp.broadcast_to(jnp.eye(N), (L, N, N))
    carried = path_bound(identity, beta1, beta2, jnp.ones(()), nothing)
    assert carried[-1] > 1  # the derivative itself: the equality case


def test_two_hundred_layers_do_not_overflow():
    layers, n = 200, 3
    rng = np.random.default_rng(4)
    cuts = np.sort(rng.integers(0, 65, size=(layers, 2)), axis=-1)  # whole 64ths: few digits
    parts = np.diff(cuts, axis=-1, prepend=0, append=64) / 64
    weights = np.tile(np.eye(n), (layers, 1, 1))
    weights[:, 2] = parts
    weights = jnp.array(weights)
    beta, ones = jnp.full(layers, 2.0**-10), jnp.ones(layers)
    found = squashing_bound(weights, beta, ones, jnp.ones(()), ones)
    assert float(found.log_gain) == pytest.approx(
        layers * math.log(2 * 1025), rel=layers * U, abs=0
    )
    share, rest = Fraction(1024, 1025), Fraction(1, 1025)
    exact = last_row([plus_identity(fractions(w), share, rest) for w in np.asarray(weights)], n)
    np.testing.assert_allclose(found.profile, [float(x) for x in exact], rtol=layers * (n + 6) * U)
    assert not np.isfinite(path_bound(weights, beta, ones, jnp.ones(()), ones)[0])
    assert np.isfinite(np.asarray(found.log_bound)).all()


def test_rollout_by_hand():
    # (0, 0, 1) -> (1/6, 1/6, 2/3) -> half of it, and 1/6 + 1/12 + 2/9 = 17/36 of it spread.
    weights = jnp.tril(jnp.ones((3, 3))) / jnp.arange(1.0, 4.0)[:, None]
    found = attention_rollout(jnp.stack([weights, weights]), jnp.full(2, 0.5))
    np.testing.assert_allclose(found, np.array([23, 17, 32]) / 72, rtol=8 * U)


def test_the_first_layer_comes_first():
    # Last layer: 3 looks at 2. First layer: 2 looks at 1.
    to_second = jnp.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    to_first = jnp.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    full = jnp.ones(2)
    np.testing.assert_array_equal(
        attention_rollout(jnp.stack([to_first, to_second]), full), [1, 0, 0]
    )
    np.testing.assert_array_equal(
        attention_rollout(jnp.stack([to_second, to_first]), full), [0, 1, 0]
    )


def test_gradients_with_respect_to_the_weights():
    # One layer: the bound is linear in the last row, with slope C / beta1, and in no other.
    weights, beta1, beta2, beta3, sigma = draw(5)
    one = (weights[:1], beta1[:1], beta2[:1], beta3, sigma[:1])
    slope = float((1 + sigma[0] / beta2[0]) / beta3 / beta1[0])
    expected = np.zeros((N, 1, N, N))
    expected[range(N), 0, -1, range(N)] = slope

    @jax.jit
    def slopes(one, weights, shares):
        normal = jax.jacfwd(lambda *args: squashing_bound(*args).bound)(*one)
        backward, forward = jax.jacrev(attention_rollout), jax.jacfwd(attention_rollout)
        return normal, backward(weights, shares), forward(weights, shares)

    normal, backward, forward = slopes(one, weights, beta1)  # any numbers do for shares
    np.testing.assert_allclose(jax.jacrev(path_bound)(*one), expected, rtol=64 * U)
    np.testing.assert_allclose(normal, expected, rtol=64 * U)
    # Shares above one give terms of both signs: sums are off by their size.
    size = np.abs(forward).max()
    np.testing.assert_allclose(forward, backward, rtol=0, atol=8 * ROUNDOFF * size)


def test_several_heads():
    weights, _, beta2, _, _ = draw(6)
    heads = jnp.stack([weights, jnp.flip(weights, axis=0)], axis=1)
    assert heads.shape == (L, 2, N, N)
    one = path_bound(weights, jnp.ones(L), beta2, jnp.ones(()), jnp.zeros(L))
    single = multi_head_path_bound(weights[:, None], jnp.ones(()))
    np.testing.assert_allclose(single, one, rtol=ROUNDOFF)
    layers = [plus_identity(fractions(w[0] + w[1]), 1, 1) for w in heads]
    expected = [float(total) * 8 for total in path_sums(layers)]
    np.testing.assert_allclose(
        multi_head_path_bound(heads, jnp.array(2.0)), expected, rtol=2 * ROUNDOFF
    )


def test_several_linear_heads_attain_their_bound_where_all_maps_are_one():
    weights, _, _, _, _ = draw(7)
    heads = jnp.stack([weights, jnp.flip(weights, axis=0)], axis=1)

    def run(resid, gains):
        for layer in heads:
            resid = 3.0 * (resid + jnp.einsum("h,hij,j->i", gains, layer, resid))
        return resid[-1]

    bound = multi_head_path_bound(heads, jnp.array(3.0))
    derivative = jax.jit(jax.jacrev(run))
    tight = derivative(jnp.ones(N), jnp.ones(2))
    np.testing.assert_allclose(tight, bound, rtol=2 * ROUNDOFF)
    loose = derivative(jnp.ones(N), jnp.array([1.0, 0.25]))
    assert (np.asarray(loose) < np.asarray(bound)).all()


def test_strange_input():
    ones, scalar = jnp.ones(1), jnp.ones(())
    # One token: attention is the identity. (1 + 1) (1 + 1).
    assert path_bound(jnp.ones((1, 1, 1)), ones, ones, scalar, ones)[0] == 4
    # No layer: the last token is the output, divided.
    none = jnp.zeros(0)
    empty = squashing_bound(jnp.zeros((0, 3, 3)), none, none, jnp.array(4.0), none)
    np.testing.assert_allclose(empty.bound, [0, 0, 0.25], rtol=4 * U)
    # No attention at all, by zero weights, or by an infinite divisor.
    zero = jnp.zeros((1, 3, 3))
    np.testing.assert_array_equal(path_bound(zero, ones, ones, scalar, ones), [0, 0, 2])
    uniform = jnp.tril(jnp.ones((3, 3)))[None]
    absent = squashing_bound(uniform, jnp.full(1, jnp.inf), ones, scalar, ones)
    np.testing.assert_allclose(absent.bound, [0, 0, 2], rtol=4 * U)
    assert np.isneginf(np.asarray(absent.log_bound)[:2]).all()
    # A NaN is never masked.
    assert np.isnan(attention_rollout(uniform.at[0, 2, 1].set(jnp.nan), ones)[1])


def test_records_map_over_batches_and_keep_their_dtype():
    args = jax.tree.map(lambda *leaves: jnp.array(np.stack(leaves)), *(draw(s) for s in range(2)))
    batch = jax.vmap(squashing_bound)(*args)
    assert isinstance(batch, SquashingBound)
    np.testing.assert_allclose(batch.bound[1], path_bound(*draw(1)), rtol=2 * ROUNDOFF + 40 * U)
    narrow = squashing_bound(*jax.tree.map(lambda leaf: leaf.astype(jnp.float32), draw(0)))
    assert narrow.bound.dtype == narrow.log_gain.dtype == jnp.float32
