"""Theorem 4.2 layer by layer: on a model in NumPy, where it is tight, and where it was wrong."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.theory.collapse import (
    collapse_certificate,
    layer_certificate,
    row_change,
    row_change_bound,
    row_change_bound_by_increments,
)
from glassesjax.theory.collapse_records import Inequality
from glassesjax.theory.norms import chebyshev_radius_bound
from glassesjax.theory.softmax import tv_bound_range
from glassesjax.trace import LayerRows

U = 2.0**-53  # unit roundoff of float64
NORMS = [1, 2, "inf"]
SEQ, DIM, HEADS, LAYERS, SIGMA, BETA = 12, 6, 2, 3, 0.7, 2.0
certify = jax.jit(collapse_certificate, static_argnames="norm")
certify_layer = jax.jit(layer_certificate, static_argnames="norm")
radius_bound = jax.jit(chebyshev_radius_bound, static_argnums=1)
change_of = jax.jit(row_change)


def softmax(row):
    grown = np.exp(row - row.max())
    return grown / grown.sum()


def layer_rows(logits, next_logits, values, resid, sigma, beta, norm):
    """One layer by hand, for rows n and n + 1: attention, then v = z + sigma tanh(z / beta)."""
    weights = np.array([softmax(row) for row in logits])
    next_weights = np.array([softmax(row) for row in next_logits])
    before = np.einsum("hi,hid->d", weights, values[:, :-1])
    after = np.einsum("hi,hid->d", next_weights, values)
    mid = resid + np.stack([before, after])
    radius = radius_bound(values, norm)
    fields = (logits, next_logits, weights, next_weights, radius, resid, mid)
    out = mid + sigma * np.tanh(mid / beta)
    return LayerRows(*map(np.array, (*fields, out, sigma, 1 / beta)))  # copies: resid is updated


def decoder_rows(seed, norm, kernel_scale=1.0, repeated=True):
    """Rows n and n + 1 of all layers of a small random decoder with rotary-like positions."""
    rng = np.random.default_rng(seed)
    resid = rng.normal(size=(SEQ, DIM))
    resid[-1] = resid[-2] if repeated else resid[-1]
    distance = np.arange(SEQ)[:, None] - np.arange(SEQ)
    layers = []
    for _ in range(LAYERS):
        keys, values = rng.normal(size=(2, HEADS, DIM, DIM)) / np.sqrt(DIM)
        content = np.einsum("td,hde,se->hts", resid, keys, resid)
        angle = rng.uniform(0.1, 2.0, size=(HEADS, 1, 1))
        logits = content + kernel_scale * np.cos(angle * distance)
        attended = np.einsum("sd,hde->hse", resid, values)
        both = (logits[:, -2, :-1], logits[:, -1], attended)
        layers.append(layer_rows(*both, resid[-2:], SIGMA, BETA, norm))
        mixing = [[softmax(head[t, : t + 1]) for t in range(SEQ)] for head in logits]
        for head, t in itertools.product(range(HEADS), range(SEQ)):
            resid[t] += mixing[head][t] @ attended[head, : t + 1]
        resid = resid + SIGMA * np.tanh(resid / BETA)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *layers)


def rounding_of(rows):
    """What rounding may do to a distance.

    An entry is a sum of SEQ or DIM products in each head and layer, and its L1 norm bounds the
    others; logits, up to about ten, pass their rounding on to the weights.
    """
    size = float(np.max(np.sum(np.abs(rows.resid_out), axis=-1)))
    return 10 * 2 * LAYERS * HEADS * (SEQ + DIM) * U * size


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_all_inequalities_hold_on_random_decoders(norm, scale):
    for seed in range(5):
        rows = decoder_rows(seed, norm, scale)
        found = jax.device_get(certify(rows, norm=norm))
        roundoff = rounding_of(rows)
        pairs = (found.layers.mid, found.layers.out, found.layers.row_change)
        for pair in (*pairs, found.layers.self_weight, found.output):
            assert np.all(pair.holds(roundoff))
        assert np.all(found.layers.error <= found.propagated[:-1] + roundoff)
        assert found.equal_tokens
        assert np.all(found.layers.hypotheses.row_sum_error <= 2 * SEQ * U)
        assert np.all(found.layers.hypotheses.softmax_error <= 4 * SEQ * U)


def test_the_certificate_shows_which_hypothesis_was_dropped():
    rows = decoder_rows(0, 2, repeated=False)
    assert not certify(rows, norm=2).equal_tokens
    partly = rows.resid.copy()
    partly[0, 1, 0] = partly[0, 0, 0]  # one coordinate says nothing
    assert not certify(rows._replace(resid=partly), norm=2).equal_tokens
    assert certify(rows, norm=2).output.holds(
        rounding_of(rows)
    )  # the recursion starts from any distance
    hypotheses = certify(
        rows._replace(next_weights=rows.next_weights / 2), norm=2
    ).layers.hypotheses
    np.testing.assert_allclose(hypotheses.row_sum_error, 0.5, rtol=8 * SEQ * U)
    np.testing.assert_allclose(hypotheses.softmax_error, 0.5, rtol=8 * SEQ * U)
    both = rows._replace(weights=rows.weights / 4, next_weights=rows.next_weights / 2)
    hypotheses = certify(both, norm=2).layers.hypotheses  # the larger of the two rows' errors
    np.testing.assert_allclose(hypotheses.row_sum_error, 0.75, rtol=8 * SEQ * U)
    np.testing.assert_allclose(hypotheses.softmax_error, 0.75, rtol=8 * SEQ * U)
    masked = rows.next_logits.copy()
    masked[..., 0] = -np.inf
    ranges = certify(rows._replace(next_logits=masked), norm=2).layers.hypotheses.logit_range
    assert np.all(np.asarray(ranges) == np.inf)


def test_holds_rejects_nan_and_infinite_bounds():
    measured, bound = jnp.array([1.0, 1.0, jnp.nan, 1.0]), jnp.array([jnp.inf, jnp.nan, 1.0, 1.0])
    np.testing.assert_array_equal(Inequality(measured, bound).holds(), [False, False, False, True])
    np.testing.assert_array_equal(Inequality(measured, bound).applies, [True, False, True, True])
    assert Inequality(jnp.array(1.5), jnp.array(1.0)).holds(0.5)


@pytest.mark.parametrize("norm", NORMS)
def test_the_inequality_of_increments_needs_both_constants(norm):
    rows = decoder_rows(0, norm)
    error = np.full((LAYERS, HEADS), np.nan)
    known = np.full((LAYERS, HEADS), 100.0)  # more than any logit here moves
    cases = (
        (None, None, False),
        (known, error, False),
        (error, known, False),
        (known, known, True),
    )
    for lipschitz, increment, applies in cases:
        given = rows._replace(query_lipschitz=lipschitz, increment=increment)
        found = jax.device_get(certify(given, norm=norm).layers.by_increments)
        assert np.all(found.applies == applies)
        assert np.all(found.holds(rounding_of(rows)) == applies)


def test_too_small_an_increment_is_found_out():
    rows = decoder_rows(0, 2, kernel_scale=1.0)
    still = np.zeros((LAYERS, HEADS))
    claimed = rows._replace(query_lipschitz=still, increment=still)
    found = jax.device_get(certify(claimed, norm=2).layers.by_increments)
    # The kernel moves the first layer's logits: more than the last weight changes.
    assert not np.any(np.asarray(found.holds(rounding_of(rows)))[0])


def test_a_masked_logit_or_a_wide_range_is_no_unknown_constant():
    still = jnp.zeros(3)
    spans = jnp.array([jnp.inf, 1e4, 1.0])
    bound = row_change_bound_by_increments(spans, jnp.full(3, 0.25), still, still, still)
    np.testing.assert_array_equal(bound, [jnp.inf, jnp.inf, 0.5])


def aligned_rows(dim, size, norm):
    """Values that all differences of weights push the same way; sigma tanh acts linearly."""
    logits = np.array([[0.3, -1.0, 0.4, 2.0, 0.0]])
    next_logits = np.array([[1.0, -1.2, 0.1, 0.5, 0.9, -2.0]])
    change = softmax(next_logits[0])
    change[:-1] -= softmax(logits[0])
    values = np.sign(change)[None, :, None] * np.full(dim, size)
    apart = np.stack([np.zeros(dim), np.full(dim, 1e-3)])
    # Rows near zero: tanh(x) = x to x^2 / 3, which the scale of 1e6 makes negligible.
    return layer_rows(logits, next_logits, values, apart, 3.0e6, 1.0e6, norm), size * dim


@pytest.mark.parametrize("norm", NORMS)
def test_attention_and_layer_bounds_are_attained_by_aligned_values(norm):
    rows, _ = aligned_rows(dim=4, size=0.5, norm=norm)
    found = certify_layer(rows, norm=norm)
    assert float(found.mid.measured) == pytest.approx(float(found.mid.bound), rel=64 * U, abs=0)
    # The rows differ by about one: (1e-6)^2 / 3 from tanh, and 3e6 tanh(1e-6 z) is rounded well.
    assert float(found.out.measured) == pytest.approx(float(found.out.bound), rel=1e-11, abs=0)


def test_too_small_a_lipschitz_constant_is_found_out():
    rows, _ = aligned_rows(dim=4, size=0.5, norm=2)
    claimed = certify_layer(rows._replace(mlp_lipschitz=rows.mlp_lipschitz * 0.99), norm=2)
    # Distances near two million of sums of at most 5 values in 4 coordinates; 1% is far more.
    roundoff = 64 * U * float(claimed.out.measured)
    assert claimed.mid.holds(roundoff)
    assert not claimed.out.holds(roundoff)


def test_values_of_unit_l2_norm_break_the_printed_l1_inequality():
    rows, l1_norm = aligned_rows(dim=4, size=0.5, norm=1)  # L2 norm 1, L1 norm 2
    assert l1_norm == 2
    moved, change = float(certify_layer(rows, norm=1).mid.measured) - 4e-3, change_of(*rows[2:4])[0]
    assert moved > 1.9 * change  # as printed: at most 1 times the change
    assert float(moved) == pytest.approx(2 * float(change), rel=256 * U, abs=0)  # as repaired
    unit, _ = aligned_rows(dim=4, size=0.25, norm=1)
    moved = float(certify_layer(unit, norm=1).mid.measured) - 4e-3
    assert moved == pytest.approx(float(change), rel=256 * U, abs=0)


def test_the_last_weight_counts_twice():
    # Without positions the shared logits do not move. As printed T is at most alpha; it is 2 alpha.
    logits = jnp.array([[0.3, -1.0, 0.4, 2.0]])
    next_logits = jnp.append(logits, logits[:, -1:], axis=-1)
    weights, next_weights = jax.nn.softmax(logits), jax.nn.softmax(next_logits)
    change, own = row_change(weights, next_weights), next_weights[:, -1]
    assert tv_bound_range(logits, next_logits[:, :-1]) == 0
    assert change > own
    bound = row_change_bound(logits, next_logits, own)
    np.testing.assert_allclose(change, bound, rtol=16 * U)
    assert bound == 2 * own


def test_row_change_bound_is_nearly_attained_when_logits_alternate():
    odd = np.arange(200) % 2 == 1
    logits, moved = np.where(odd, 0.0, 1.0), np.where(odd, 1.0, 0.0)
    next_logits = np.append(moved, -3.0)
    weights, next_weights = softmax(logits)[None], softmax(next_logits)[None]
    bound = jax.jit(row_change_bound)(logits[None], next_logits[None], next_weights[:, -1])
    assert 0.95 < float(change_of(weights, next_weights)[0]) / float(bound[0]) <= 1


@pytest.mark.parametrize("decay", [0.3, 1.0])
def test_row_change_is_bounded_by_positional_increments(decay):
    # Logits q . k_i + exp(-decay r): both rows' queries, the kernel, and nothing else.
    rng = np.random.default_rng(0)
    keys, query, step = rng.normal(size=(40, 3)) / 4, rng.normal(size=3), rng.normal(size=3) / 50
    kernel = lambda n: np.exp(-decay * np.arange(n)[::-1])
    ratios = []
    for n in (5, 39):
        logits = (keys[:n] @ query + kernel(n))[None]
        next_logits = (keys[: n + 1] @ (query + step) + kernel(n + 1))[None]
        weights, next_weights = (softmax(row[0])[None] for row in (logits, next_logits))
        everything = np.concatenate([logits, next_logits], axis=1)
        bound = row_change_bound_by_increments(
            jnp.array(np.ptp(everything, axis=1)),
            jnp.array(next_weights[:, -1]),
            jnp.array([np.linalg.norm(step)]),
            query_lipschitz=float(np.linalg.norm(keys, axis=1).max()),
            increment=float(np.mean(-np.diff(np.exp(-decay * np.arange(n + 1))))),
        )
        ratios.append(float(change_of(weights, next_weights)[0]) / float(bound[0]))
    assert max(ratios) <= 1


def test_certificates_of_single_and_stacked_layers_agree_in_any_dtype():
    rows = jax.tree.map(functools.partial(np.asarray, dtype=np.float32), decoder_rows(1, 2))
    stacked = certify(rows, norm=2)
    first = certify_layer(jax.tree.map(lambda leaf: leaf[0], rows), norm=2)
    assert stacked.propagated.dtype == jnp.float32
    assert stacked.propagated.shape == (LAYERS + 1,)
    for one, all_layers in zip(
        jax.tree.leaves(first), jax.tree.leaves(stacked.layers), strict=True
    ):
        # A sum may be ordered otherwise in a batch; row_sum_error is itself such an error.
        np.testing.assert_allclose(one, all_layers[0], rtol=2**-20, atol=SEQ * 2.0**-23)
