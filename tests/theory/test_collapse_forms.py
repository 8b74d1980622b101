"""Closed forms of the collapse against attention computed in NumPy."""

import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.theory.collapse_forms import (
    alibi_difference,
    bos_difference_factor,
    embedding_position_gap,
    one_layer_difference,
    window_receptive_field,
)

U = 2.0**-53  # unit roundoff of float64
N, DIM = 9, 3


def attend(logits, values):
    grown = np.exp(logits - logits.max())
    return grown @ values / grown.sum()


def repeated(logits, values):
    """Row n + 1 minus row n when the last token comes again, with the same logits."""
    again = attend(np.append(logits, logits[-1]), np.append(values, values[-1:], axis=0))
    return again - attend(logits, values)


@pytest.fixture
def row():
    rng = np.random.default_rng(0)
    return rng.normal(size=N), rng.uniform(-1, 1, size=(N, DIM))


def one_layer_form(logits, values):
    weights = np.exp(logits) / np.exp(logits).sum()
    others = attend(logits[:-1], values[:-1])
    return one_layer_difference(*map(jnp.array, (weights[-1], values[-1], others)))


def test_one_layer_difference_is_exact(row):
    # Values are at most one: each attention output is off by about n u.
    np.testing.assert_allclose(one_layer_form(*row), repeated(*row), atol=4 * N * U, rtol=0)


def test_one_layer_difference_needs_logits_that_do_not_move(row):
    logits, values = row
    moved = attend(
        np.append(np.roll(logits, 1), logits[-1]), np.append(values, values[-1:], axis=0)
    )
    gap = moved - attend(logits, values) - np.array(one_layer_form(logits, values))
    assert np.abs(gap).max() > 0.01


@pytest.mark.parametrize("c", [-3.0, 0.0, 2.5])
@pytest.mark.parametrize("n", [1, 10, 100])
def test_bos_factor_is_the_step_of_attention(n, c):
    logits = np.append(0.0, np.full(n, c))
    values = np.append(0.0, np.ones(n))[:, None]  # v_bos is 0 and v_token is 1
    expected = repeated(logits, values)[0]
    found = float(bos_difference_factor(n, jnp.array(c)))
    assert found == pytest.approx(expected, abs=4 * (n + 2) * U)


def test_bos_factor_by_hand_and_for_large_logits():
    assert float(bos_difference_factor(10, jnp.array(0.0))) == pytest.approx(
        1 / 132, rel=8 * U, abs=0
    )
    assert round(1 / 132, 8) == 0.00757576
    found = bos_difference_factor(jnp.array([100, 1]), jnp.zeros(2))
    np.testing.assert_allclose(found, [1 / (101 * 102), 1 / 6], rtol=8 * U)
    assert round(float(found[0]), 10) == round(9.70685e-5, 10)
    # For a large |c| the factor is exp(-c) / (n (n + 1)) or exp(c); naively inf / inf or worse.
    for c, expected in ((700.0, math.exp(-700) / 12), (-700.0, math.exp(-700))):
        assert float(bos_difference_factor(3, jnp.array(c))) == pytest.approx(
            expected, rel=8 * U, abs=0
        )
    assert bos_difference_factor(3, jnp.array(80.0, jnp.float32)) > 0


@pytest.mark.parametrize("slope", [0.05, 0.5])
def test_alibi_difference_is_the_limit_of_long_contexts(slope):
    for n in (4, 64):
        values = np.random.default_rng(n).uniform(-1, 1, size=(n + 1, DIM))
        penalties = -slope * np.arange(n + 1)[::-1]
        before = attend(penalties[1:], values[:-1])
        step = attend(penalties, values) - before
        limit = np.array(alibi_difference(*map(jnp.array, (slope, values[-1], before))))
        finite = limit / -math.expm1(-slope * (n + 1))
        np.testing.assert_allclose(step, finite, atol=4 * (n + 2) * U, rtol=0)
        # The limit itself is off by the share that the docstring gives, and so it must.
        assert np.abs(step - limit).max() > 0.5 * math.exp(-slope * (n + 1)) * np.abs(limit).max()


def test_alibi_difference_decays_with_the_run_not_with_the_context():
    slope, token = jnp.array(0.3), jnp.ones(DIM)
    output = jnp.zeros(DIM)
    steps = []
    for _ in range(3):
        steps.append(float(alibi_difference(slope, token, output)[0]))
        output = output + alibi_difference(slope, token, output)
    np.testing.assert_allclose(np.array(steps[1:]) / steps[:-1], math.exp(-0.3), rtol=8 * U)


def window_gap(width, layers, run):
    """Last two rows of uniform attention over a window, exact: the first tokens are all unlike."""
    resid = [Fraction(i * i + 2) for i in range(4)] + [Fraction(1)] * (run + 1)
    for _ in range(layers):
        windows = [resid[max(0, i - width + 1) : i + 1] for i in range(len(resid))]
        resid = [v + sum(seen) / len(seen) for v, seen in zip(resid, windows, strict=True)]
    return resid[-1] - resid[-2]


@pytest.mark.parametrize(("width", "layers", "run"), [(4, 3, 10), (8, 2, 15), (1, 5, 1), (3, 0, 1)])
def test_window_rows_are_equal_from_the_receptive_field_on(width, layers, run):
    assert window_receptive_field(width, layers) == run
    assert window_gap(width, layers, run) == 0
    if run > 1:
        assert window_gap(width, layers, run - 1) != 0


@pytest.mark.parametrize(("dim", "gap"), [(64, 1.472), (128, 1.953), (512, 3.714)])
def test_position_gap_of_the_usual_widths(dim, gap):
    assert round(embedding_position_gap(dim), 3) == gap


@pytest.mark.parametrize("position", [0, 1000])
def test_position_gap_is_the_same_at_every_position(position):
    dim, base = 16, 100.0
    angles = np.outer([position, position + 1], base ** (-np.arange(0, dim, 2) / dim))
    first, second = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    # Angles up to the position are rounded.
    expected = pytest.approx(np.linalg.norm(second - first), rel=(8 + position) * dim * U, abs=0)
    assert embedding_position_gap(dim, base) == expected


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"got width=0 and layers=2\."):
        window_receptive_field(0, 2)
    with pytest.raises(ValueError, match=r"non-negative layers, got width=1 and layers=-1\."):
        window_receptive_field(1, -1)
    with pytest.raises(ValueError, match=r"even non-negative dim .* got dim=3 and base=10000\.0\."):
        embedding_position_gap(3)
