"""Sink rate, effective mixing, norms of values; and how a sink keeps the rest from mixing."""

import jax
import numpy as np
import pytest

from glassesjax.theory import position_bias, sinks
from glassesjax.theory.sinks import sink_rate

U = 2.0**-53  # unit roundoff of float64
# One program a shape, in place of one an operation.
cumulative_rollout, mean_first_weight = map(
    jax.jit, (position_bias.cumulative_rollout, sinks.mean_first_weight)
)
effective_mixing, sink_value_ratio = map(jax.jit, (sinks.effective_mixing, sinks.sink_value_ratio))


def cesaro(n):
    return np.tril(np.ones((n, n))) / np.arange(1.0, n + 1)[:, None]


def sink(n, strength):
    """Uniform attention, of which a share goes to the first token instead."""
    return (1 - strength) * cesaro(n) + strength * np.eye(1, n)


def test_sink_rate_of_uniform_heads_and_of_pure_sinks():
    n = 4  # uniform attention gives the first token (1 + 1/2 + 1/3 + 1/4) / 4 = 25/48
    weights = np.stack([cesaro(n), sink(n, 1.0), sink(n, 0.5), np.eye(n)]).reshape(2, 2, n, n)
    means = np.array([[25 / 48, 1], [(25 / 48 + 1) / 2, 1 / 4]])
    np.testing.assert_allclose(mean_first_weight(weights), means, rtol=8 * U)
    assert sink_rate(mean_first_weight(weights)) == 0.25
    assert sink_rate(mean_first_weight(weights), 0.7) == 0.5
    assert sink_rate(mean_first_weight(weights), 0.2) == 1
    assert sink_rate(mean_first_weight(weights), 1.0) == 0  # above, not at, the threshold


def test_effective_mixing_of_updates_of_known_length(key):
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    resid, betas = rng.normal(size=(3, 5, 8)), np.array([1.0, 3.0, 0.25])
    found = effective_mixing(resid[:, :, ::-1] / betas[:, None, None], resid)
    np.testing.assert_allclose(found, 1 / (1 + betas), rtol=32 * U)
    assert effective_mixing(np.zeros((2, 8)), np.ones((2, 8))) == 0
    assert effective_mixing(np.ones((2, 8)), np.zeros((2, 8))) == 1
    assert np.isnan(effective_mixing(np.zeros((2, 8)), np.zeros((2, 8))))


def test_ratio_of_the_norms_of_values():
    values = np.array([[0.3, 0.4], [3.0, 4.0], [0.0, 5.0], [8.0, 6.0]])
    assert float(sink_value_ratio(values)) == pytest.approx(0.5 / (20 / 3), rel=8 * U, abs=0)
    assert sink_value_ratio(np.ones((2, 3, 4))).shape == (2,)


@pytest.mark.parametrize(
    ("strength", "survives"), [(0.0, 0.64359960), (0.5, 0.08195888), (0.9, 0.00819163)]
)
def test_a_sink_speeds_the_flow_to_the_first_token(strength, survives):
    n, depth = 64, 8
    with_residual = (np.eye(n) + sink(n, strength)) / 2
    last = np.asarray(cumulative_rollout(np.stack([with_residual] * depth)))[-1, -1]
    assert float(np.sum(last[1:])) == pytest.approx(survives, abs=5.1e-9)  # eight places
