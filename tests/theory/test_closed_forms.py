"""Closed forms against exact products of matrices, printed rows, and Jacobians."""

import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from squashing_reference import geometric, last_row, path_sums, plus_identity, uniform, window

from glassesjax.theory.closed_forms import (
    cesaro_cube_first,
    cesaro_entry,
    cesaro_moment,
    cesaro_rollout,
    cesaro_square,
    harmonic,
    path_count,
    uniform_unabsorbed,
)
from glassesjax.theory.masked_rollouts import (
    alibi_mode,
    alibi_rollout,
    sink_rollout,
    window_rollout,
    window_two_rollout,
)
from glassesjax.theory.norm_jacobians import layernorm_jacobian_norm, rmsnorm_jacobian_norm

rms_norm, layer_norm = (
    jax.jit(function, static_argnames="eps")
    for function in (rmsnorm_jacobian_norm, layernorm_jacobian_norm)
)

U = 2.0**-53  # unit roundoff of float64
HALF, ONE = Fraction(1, 2), Fraction(1)


def mixed(matrix, *shares):
    return [plus_identity(matrix, share, 1 - share) for share in shares]


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_path_count_is_the_number_of_paths(layers):
    ones = [[Fraction(int(j <= i)) for j in range(5)] for i in range(5)]
    assert path_count(5, layers) == path_sums([ones] * layers)


def test_path_count_by_hand_and_at_the_ends():
    assert path_count(5, 3) == [15, 10, 6, 3, 1]
    assert path_count(3, 0) == [0, 0, 1]
    assert path_count(1, 7) == [1]
    assert path_count(1000, 100)[0] == math.comb(1098, 99)  # beyond float64's integers
    with pytest.raises(ValueError, match="got length=0 and layers=1"):
        path_count(0, 1)


@pytest.mark.parametrize(
    ("function", "row"),
    [
        (lambda x: x**2, "137/300 77/300 47/300 9/100 1/25"),
        (lambda x: x**3, "12019/18000 3799/18000 1489/18000 61/2000 1/125"),
        (lambda x: x**4, "874853/1080000 153713/1080000 39743/1080000 369/40000 1/625"),
        (lambda x: ((1 + x) / 2) ** 2, "257/1200 197/1200 167/1200 49/400 9/25"),
        (lambda x: ((1 + x) / 2) ** 3, "47479/144000 28459/144000 20749/144000 1801/16000 27/125"),
        (lambda x: (1 + x) ** 3, "47479/18000 28459/18000 20749/18000 1801/2000 216/125"),
        (lambda x: ONE, "0 0 0 0 1"),
    ],
    ids=["M2", "M3", "M4", "half2", "half3", "sum3", "one"],
)
def test_printed_rows_of_five_tokens(function, row):
    expected = [Fraction(entry) for entry in row.split()]
    assert [cesaro_entry(function, 4, k) for k in range(5)] == expected


def test_entries_are_those_of_the_matrix():
    matrix, cube = uniform(6), lambda x: x**3
    for n in range(6):
        row = last_row([[r[: n + 1] for r in matrix[: n + 1]]] * 3, n + 1)
        assert [cesaro_entry(cube, n, k) for k in range(n + 1)] == row
        assert cesaro_cube_first(n) == row[0]
        assert cesaro_entry(cube, n, n + 1) == 0
        square = last_row([[r[: n + 1] for r in matrix[: n + 1]]] * 2, n + 1)
        assert [cesaro_square(n, k) for k in range(n + 1)] == square
    with pytest.raises(ValueError, match="row=2 and column=-1"):
        cesaro_entry(cube, 2, -1)


def test_harmonic_numbers():
    assert [harmonic(n) for n in range(4)] == [0, 1, Fraction(3, 2), Fraction(11, 6)]
    assert harmonic(3, 2) == Fraction(49, 36)


@pytest.mark.parametrize("shares", [(), (HALF,), (HALF, ONE, Fraction(1, 7)), (Fraction(0), ONE)])
def test_layers_with_shares_of_their_own(shares):
    for n in (1, 2, 6):
        expected = last_row(mixed(uniform(n), *shares), n)
        assert cesaro_rollout(n, shares) == expected == cesaro_rollout(n, shares[::-1])
        assert sum(expected) == 1
        # The last token's own share, and the first one's as a mean over cuts.
        atom = math.prod((1 - share * (1 - Fraction(1, n)) for share in shares), start=ONE)
        assert cesaro_moment(n - 1, shares) == expected[-1] == atom
    with pytest.raises(ValueError, match="positive length"):
        cesaro_rollout(0, shares)


def test_the_moments_are_those_of_random_cuts():
    # One uniform cut with probability one half: E X^m = 1/2 + 1/2 . 1/(m + 1).
    assert [cesaro_moment(m, [HALF]) for m in range(3)] == [1, Fraction(3, 4), Fraction(2, 3)]
    assert cesaro_moment(2, [ONE, ONE]) == Fraction(1, 9)


def test_rollouts_of_uniform_attention_decrease_but_for_the_last_token():
    row = cesaro_rollout(12, [HALF] * 3)
    assert all(a > b for a, b in itertools.pairwise(row[:-1]))
    assert row[-1] > row[-2]


@pytest.mark.parametrize(("n", "layers"), [(1, 3), (2, 5), (6, 0), (6, 1), (9, 4)])
def test_uniform_unabsorbed_is_the_rest_of_the_rollout(n, layers):
    found = uniform_unabsorbed(n, layers)
    assert found == sum(cesaro_rollout(n, [HALF] * layers)[1:])
    assert found == sum(last_row(mixed(uniform(n), *[HALF] * layers), n)[1:])


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 9])
def test_window_of_two(layers):
    for n in (1, 2, 5):
        expected = last_row(mixed(window(n, 2), *[HALF] * layers), n)
        assert window_two_rollout(n, layers) == expected


@pytest.mark.parametrize("width", [1, 2, 4])
def test_windows_away_from_the_edge(width):
    shares = (HALF, ONE, Fraction(1, 5))
    found = window_rollout(width, shares)
    assert len(found) == 3 * (width - 1) + 1
    assert sum(found) == 1
    n = len(found) + width  # no path reaches rows that the edge shortens
    row = last_row(mixed(window(n, width), *shares), n)
    assert row[::-1][: len(found)] == found
    assert not any(row[::-1][len(found) :])
    assert window_rollout(2, [HALF] * 3) == window_two_rollout(9, 3)[::-1][:4]


def test_a_window_of_no_tokens_is_refused():
    with pytest.raises(ValueError, match="positive width, got 0"):
        window_rollout(0, [])


def test_geometric_attention_in_a_long_context():
    # By distance, one more layer is one more convolution with (1 - q) q^r.
    decay = Fraction(2, 3)
    one = [(1 - decay) * decay**r for r in range(9)]
    assert alibi_rollout(9, 1, decay) == one
    assert alibi_rollout(3, 0, decay) == [1, 0, 0]
    for layers in range(1, 5):
        before, after = alibi_rollout(9, layers, decay), alibi_rollout(9, layers + 1, decay)
        assert after == [sum(before[s] * one[r - s] for s in range(r + 1)) for r in range(9)]
    # The left edge of 60 tokens: each row of weights is off by (2/3)^i, from row 50 on by 2e-9.
    row = [float(x) for x in last_row([geometric(60, decay)] * 3, 60)[::-1][:9]]
    np.testing.assert_allclose(row, np.array(alibi_rollout(9, 3, decay), float), rtol=1e-8)


@pytest.mark.parametrize("layers", [1, 2, 5, 8])
@pytest.mark.parametrize("decay", [Fraction(0), Fraction(1, 3), HALF, Fraction(9, 10)], ids=str)
def test_the_mode_of_geometric_attention(layers, decay):
    row, mode = alibi_rollout(100, layers, decay), alibi_mode(layers, decay)
    assert row[mode] == max(row)
    assert row.index(max(row)) in (mode, mode - 1)


def test_geometric_attention_refuses_what_does_not_decay():
    with pytest.raises(ValueError, match=r"decay in \[0, 1\), got 1"):
        alibi_rollout(3, 2, ONE)
    with pytest.raises(ValueError, match="at least one layer, got 0"):
        alibi_mode(0, HALF)


@pytest.mark.parametrize("sink", [Fraction(0), Fraction(1, 3), Fraction(9, 10), ONE], ids=str)
def test_sinks(sink):
    for n, layers in ((1, 2), (5, 0), (5, 1), (6, 3)):
        expected = last_row(mixed(uniform(n, sink), *[HALF] * layers), n)
        assert sink_rollout(n, layers, sink) == expected


def test_sinks_of_sixty_four_tokens():
    for sink, mass in (("0", 0.64359960), ("1/2", 0.08195888), ("9/10", 0.00819163)):
        row = sink_rollout(64, 8, Fraction(sink))
        assert float(sum(row[1:])) == pytest.approx(mass, abs=6e-9)  # the digits given
    with pytest.raises(ValueError, match=r"sink in \[0, 1\], got 2"):
        sink_rollout(3, 3, Fraction(2))


@jax.jit
def jacobians(x, eps):
    """Those of RMSNorm and LayerNorm, by automatic differentiation."""
    rms = lambda x: x / jnp.sqrt(jnp.mean(jnp.square(x)) + eps)
    layer = lambda x: (x - jnp.mean(x)) / jnp.sqrt(jnp.var(x) + eps)
    return jax.jacrev(rms)(x), jax.jacrev(layer)(x)


@pytest.mark.parametrize("dim", [1, 2, pytest.param(3, marks=pytest.mark.slow), 6])
def test_norms_of_jacobians(dim):
    x = np.array([3.0, -1.0, 2.0, 0.5, 4.0, -2.5])[:dim]
    for eps in (0.0, 0.5):
        forms = rms_norm(x, eps), layer_norm(x, eps)
        for form, found in zip(forms, jacobians(x, eps), strict=True):
            if np.isnan(found).all():  # LayerNorm of one number: zero over zero
                assert (dim, eps) == (1, 0.0)
                continue
            # Where the norm is constant, entries of size one over r cancel.
            expected = np.linalg.norm(found, ord=2)
            assert float(form) == pytest.approx(expected, rel=64 * U, abs=16 * U)


def test_norms_of_jacobians_by_hand_and_for_strange_vectors():
    x = np.array([[3.0, 4.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(rms_norm(x), [0.4, 1])
    found = layer_norm(x, 4.0)
    np.testing.assert_allclose(found, [1 / math.sqrt(25 / 4 - 49 / 16 + 4), 0.5], rtol=8 * U)
    # The width is the last axis, and one row is no vector of width one.
    np.testing.assert_array_equal(rms_norm(x[:1], 4.0), rms_norm(x, 4.0)[:1])
    np.testing.assert_array_equal(layer_norm(x[:1], 4.0), found[:1])
    assert np.isinf(rms_norm(np.zeros(3)))
    assert np.isinf(layer_norm(x)[1])
    assert np.isnan(rms_norm(np.array([1.0, np.nan])))
