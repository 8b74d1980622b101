"""Gradients of public functions where a norm, a root or a logarithm is singular: finite and right.

Each case is a function of one array, a point at which the plain formula gives NaN, and the gradient
there. A mapped sum over that point and a regular one must have the regular one's gradient too.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.precision import BF16, F64
from glassesjax.theory.blocks import schatten_norm
from glassesjax.theory.failing import noise
from glassesjax.theory.norms import chebyshev_radius_bound, vector_norm
from glassesjax.theory.rank import (
    effective_rank,
    relative_residual,
    residual_to_mean,
)
from glassesjax.theory.sharpness import adapted_logits, entropy, logit_range_bound
from glassesjax.theory.sinks import effective_mixing, sink_value_ratio
from glassesjax.theory.softmax import (
    softmax_total_variation,
    total_variation,
    tv_bound_mean,
    tv_bound_partition,
    tv_bound_range,
)
from glassesjax.trace.collapse import distance
from glassesjax.trace.constants import operator_norm

ROW = jnp.array([1.0, -2.0, 0.0])
FULL = jnp.array([[1.0, 2.0], [3.0, 5.0]])
# The other entries of a row whose softmax has flushed one weight to zero.
SHARP = jnp.array([0.0, -800.0, -1.0])


def apart(norm, fmt=F64):
    return lambda x: getattr(distance(ROW[None], x[None], fmt), norm)[0]


def gradient(function):
    """As one program: differentiated step by step, each step would be one."""
    return jax.jit(jax.grad(function))


def rows_of(measure):
    """A function of the second row of a pair."""
    return lambda x: measure(jnp.stack([ROW, x]))


CASES = {
    **{f"distance {norm}": (apart(norm), ROW, 0.0) for norm in ("l1", "l2", "linf", "ulp")},
    "distance relative_l1": (apart("relative_l1"), ROW, 0.0),
    "distance ulp, bf16": (apart("ulp", BF16), ROW, 0.0),
    **{f"norm {n}": (lambda x, n=n: vector_norm(x, n), 0 * ROW, 0.0) for n in (1, 2, "inf")},
    "radius": (rows_of(lambda points: chebyshev_radius_bound(points, 2)), ROW, 0.0),
    "distance to the mean": (rows_of(residual_to_mean), ROW, 0.0),
    "relative residual": (rows_of(relative_residual), ROW, 0.0),
    # p log p of the second singular value, which is zero. The other share stays one.
    "effective rank": (effective_rank, jnp.diag(jnp.array([2.0, 0.0])), 0.0),
    "mixing, no update": (lambda x: effective_mixing(x, FULL), 0 * FULL, 0.0),
    "mixing, no residual": (lambda x: effective_mixing(FULL, x), 0 * FULL, 0.0),
    # The first norm's derivative over the mean of the others: zero; theirs, of zero, too.
    "sink values": (sink_value_ratio, jnp.array([[0.0, 0.0], [3.0, 4.0]]), 0.0),
    "logit range": (lambda x: logit_range_bound(FULL, FULL, x, FULL), jnp.zeros(2), 0.0),
    "total variation": (lambda x: total_variation(ROW, x), ROW, 0.0),
    "softmax": (lambda x: softmax_total_variation(ROW, x), ROW, 0.0),
    "partition": (lambda x: tv_bound_partition(ROW, x), ROW, 0.0),
    "mean change": (lambda x: tv_bound_mean(ROW, x), ROW, 0.0),
    "range of the change": (lambda x: tv_bound_range(ROW, x), ROW, 0.0),
    "operator norm": (operator_norm, 0 * FULL, 0.0),
    "Schatten norm": (schatten_norm, 0 * FULL, 0.0),
    "noise": (lambda x: noise(x, FULL).spread, FULL, 0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_at_a_singular_point_is_finite_and_right(name):
    function, point, expected = CASES[name]
    found = gradient(function)(point)
    np.testing.assert_allclose(found, jnp.full_like(point, expected), atol=1e-12)


@pytest.mark.parametrize("name", ["distance l2", "norm 2", "operator norm", "relative residual"])
def test_a_singular_member_does_not_spoil_a_mapped_sum(name):
    function, point, _ = CASES[name]
    regular = point + jnp.arange(1.0, 1.0 + point.size).reshape(point.shape)
    summed = gradient(lambda points: jnp.sum(jax.vmap(function)(points)))
    found = summed(jnp.stack([point, regular]))
    np.testing.assert_allclose(found[1], gradient(function)(regular), rtol=1e-12)
    assert np.abs(found[1]).max() > 0.01  # it is not zero everywhere
    np.testing.assert_allclose(found[0], 0 * point, atol=1e-12)


def test_a_weight_that_underflowed_adds_nothing_to_the_derivative_of_an_entropy():
    slope = gradient(lambda x: entropy(jax.nn.softmax(x)))
    found, two = slope(SHARP), slope(SHARP[::2])
    np.testing.assert_allclose(found, [two[0], 0, two[1]], atol=1e-15)
    moved = jax.jit(jax.jacobian(adapted_logits))(SHARP)
    assert np.isfinite(moved).all()


def test_the_gradient_of_a_distance_is_the_unit_vector_elsewhere():
    found = gradient(apart("l2"))(ROW + jnp.array([3.0, 0.0, 4.0]))
    np.testing.assert_allclose(found, [0.6, 0, 0.8], atol=1e-15)
