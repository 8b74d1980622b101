"""The margin certificate: sound, sharp, and refused where closeness alone would mislead."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassesjax.theory.failing import surely_confused
from glassesjax.theory.margin import (
    margin_certificate,
    margin_certificates,
    pigeonhole_count,
)
from glassesjax.theory.norms import vector_norm

U = 2.0**-53  # unit roundoff of float64
VOCAB, DIM = 7, 4
NORMS = [1, 2, "inf"]
norm_of = jax.jit(vector_norm, static_argnums=1)


def certify(y, y_next, unembed, norm=2, unit_roundoff=None):
    """All arguments by place: others that leave some out would be compiled again."""
    return margin_certificate(y, y_next, unembed, norm, unit_roundoff)


def certify_pairs(y, y_next, unembed, unit_roundoff=None):
    """Likewise."""
    return margin_certificates(y, y_next, unembed, unit_roundoff)


def toward(difference, norm):
    """Unit vector of the norm along which the product with ``difference`` is largest."""
    if norm == 1:
        peak = np.argmax(np.abs(difference))
        return np.sign(difference) * (np.arange(DIM) == peak)
    return difference / np.linalg.norm(difference) if norm == 2 else np.sign(difference)


@given(
    seed=st.integers(0, 2**32 - 1),
    norm=st.sampled_from(NORMS),
    radius=st.floats(0, 2),
    competitor=st.integers(0, VOCAB - 1),
    aimed=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_certified_means_the_same_greedy_token(seed, norm, radius, competitor, aimed):
    rng = np.random.default_rng(seed)
    unembed, y = rng.normal(size=(VOCAB, DIM)), rng.normal(size=DIM)
    token = int(np.argmax(unembed @ y))
    direction = rng.normal(size=DIM)
    if aimed and competitor != token:  # the shortest way to a change
        direction = toward(unembed[competitor] - unembed[token], norm)
    found = certify(y, y + radius * direction, unembed, norm)
    assert found.token == token
    if found.certified:
        assert np.argmax(unembed @ (y + radius * direction)) == token


@pytest.mark.parametrize("norm", NORMS)
def test_certificate_is_sharp_on_the_way_to_the_nearest_competitor(norm):
    rng = np.random.default_rng(1)
    unembed, y = rng.normal(size=(VOCAB, DIM)), rng.normal(size=DIM)
    token = np.argmax(unembed @ y)
    others = np.delete(np.arange(VOCAB), token)
    unit = [toward(unembed[b] - unembed[token], norm) for b in others]
    reach = [
        (unembed[token] - unembed[b]) @ y / ((unembed[b] - unembed[token]) @ way)
        for b, way in zip(others, unit, strict=True)
    ]
    nearest = np.argmin(reach)
    assert float(norm_of(unit[nearest], norm)) == pytest.approx(1, rel=4 * U, abs=0)
    for share, certified in ((1 - 1e-9, True), (1 + 1e-9, False)):
        y_next = y + share * reach[nearest] * unit[nearest]
        found = certify(y, y_next, unembed, norm)
        assert found.certified == certified
        assert float(found.worst_ratio) == pytest.approx(share, rel=1e-10, abs=0)
        assert (np.argmax(unembed @ y_next) == token) == certified


def test_close_representations_near_a_tie_are_not_certified():
    y = jnp.array([1.0, 1.0 - 1e-12])
    y_next = y[::-1]  # 1e-12 away, and another token: what the corollary overlooks
    found = certify(y, y_next, jnp.eye(2))
    assert (found.token, jnp.argmax(jnp.eye(2) @ y_next)) == (0, 1)
    assert not found.certified
    assert found.worst_ratio > 1


def test_values_by_hand():
    unembed = jnp.array([[3.0, 0.0], [0.0, 4.0], [-1.0, 0.0]])
    y, y_next = jnp.array([2.0, 1.0]), jnp.array([2.0, 1.2])
    found = certify(y, y_next, unembed, unit_roundoff=0.0)
    # Logits 6, 4, -2; rows 5 and 4 apart; the move is 0.2.
    assert (found.token, found.margin) == (0, 2)
    assert float(found.worst_ratio) == pytest.approx(5 * 0.2 / 2, rel=16 * U, abs=0)
    assert found.certified


def test_ties_nan_and_coarse_arithmetic_are_refused():
    y = jnp.ones(2)
    assert not certify(y, y, jnp.ones((3, 2))).certified
    assert not certify(y, y * jnp.nan, jnp.eye(2) * 2).certified
    sure = jnp.array([[1.0, 1.0], [-1.0, -1.0]])
    assert certify(y, y, sure).certified
    assert not certify(y, y, sure, unit_roundoff=2.0**-4).certified
    wide = jnp.ones((2, 256), jnp.bfloat16) * jnp.array([[1.0], [-1.0]], jnp.bfloat16)
    assert not certify(wide[0], wide[0], wide).certified


def test_rounding_of_the_logits_is_allowed_for():
    # In float32 the gap of 1e-6 is below what a sum of 2 products near 1000 resolves.
    unembed = jnp.array([[1000.0, -1000.0], [999.999, -1000.0]], jnp.float32)
    y = jnp.array([1.0, 1.0], jnp.float32)
    assert not certify(y, y, unembed).certified
    assert certify(y, y, unembed, unit_roundoff=0.0).certified


@pytest.mark.parametrize("apart", np.linspace(1e-9, 2e-9, 12))
def test_nearly_equal_rows_whose_distance_cancels_are_not_certified(apart):
    """Their squares' difference is lost, or a few roundings, and with it the token that changes."""
    unembed = jnp.array([[1.0, 1.0], [1.0 - apart, 1.0]])
    y, y_next = jnp.array([1.0, 1.0]), jnp.array([-1.0, 1.0])
    assert (jnp.argmax(unembed @ y), jnp.argmax(unembed @ y_next)) == (0, 1)
    single = certify(y, y_next, unembed)
    several = certify_pairs(y[None], y_next[None], unembed)
    assert not single.certified
    assert not several.certified[0]
    # What may cancel is 2 own (|a| + |b|)^2, far more than the square of the distance.
    assert 2 < single.worst_ratio < 2.1 < several.worst_ratio[0]


def test_differences_of_rows_are_not_stored():
    vocab, dim = 4096, 64
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((dim,), (dim,), (vocab, dim))]
    for norm in NORMS:
        memory = margin_certificate.__wrapped__.lower(*shapes, norm).compile().memory_analysis()
        assert memory is not None
        assert memory.temp_size_in_bytes < vocab * dim * 4 / 2


SIZES = {
    # Subnormal numbers, squares that underflow, and that overflow, up to the largest numbers.
    jnp.float32: (1e-44, 1e-40, 1e-30, 1e-19, 1.0, 1e19, 1e30, 1e38),
    jnp.float64: (1e-320, 1e-310, 1e-300, 1e-170, 1.0, 1e170, 1e300),
}
AT_SIZES = [(dtype, size) for dtype, sizes in SIZES.items() for size in sizes]


def at_sizes_in_norms():
    """Every size in every norm: slow is the L2 norm of float64, whose program is the largest."""
    for (dtype, size), norm in itertools.product(AT_SIZES, NORMS):
        slow = (dtype, norm) == (jnp.float64, 2)
        yield pytest.param(dtype, size, norm, marks=[pytest.mark.slow] * slow)


@functools.partial(jax.jit, static_argnames="norm")
def every_certificate(y, y_next, unembed, norm):
    """Of one pair at two roundoffs; in the L2 norm also among many, and whether it is confused.

    One program: most of what the certificates compute is the same in all of them.
    """
    single = [margin_certificate(y, y_next, unembed, norm, roundoff) for roundoff in (None, 0.0)]
    if norm != 2:
        return single, [], []
    pairs = y[None], y_next[None], unembed
    many = [margin_certificates(*pairs, roundoff) for roundoff in (None, 0.0)]
    return single, many, surely_confused(*pairs)


@pytest.mark.parametrize(("dtype", "size", "norm"), list(at_sizes_in_norms()), ids=str)
@pytest.mark.parametrize("scaled", ["y", "unembed", "both"])
def test_two_tokens_are_never_certified_at_any_size(dtype, size, scaled, norm):
    # Made by NumPy: a product would be flushed.
    y = np.array([size if scaled != "unembed" else 1, 0], dtype)
    unembed = np.diag(np.full(2, size if scaled != "y" else 1, dtype))
    found = every_certificate(y, y[::-1], unembed, norm)
    single, many, confused = jax.device_get(found)
    assert not any(certificate.certified for certificate in single)
    assert not any(certificate.certified[0] for certificate in many)
    # A difference that is subnormal, or that a subtraction flushes, is one.
    assert not any(confused)


@pytest.mark.parametrize(("dtype", "size", "norm"), list(at_sizes_in_norms()), ids=str)
def test_a_sure_pair_is_certified_wherever_arithmetic_neither_over_nor_underflows(
    dtype, size, norm
):
    y, y_next = np.array([[1, 0], [1, 0.125]], dtype)
    limits = np.finfo(np.dtype(dtype))
    inside = 1e6 * limits.tiny < size < limits.max / 1e6
    times, eye = np.array(size, dtype), np.eye(2, dtype=dtype)
    for triple in ((y * times, y_next * times, eye), (y, y_next, eye * times)):
        (found, _), many, _ = jax.device_get(every_certificate(*triple, norm))
        assert bool(found.certified) == inside
        if inside:
            assert float(found.margin) == pytest.approx(float(times), rel=1e-6, abs=0)
        if norm == 2:
            assert bool(many[0].certified[0]) == inside


def test_logits_that_underflow_are_equal_and_certify_nothing():
    # Each is far from zero, the products are not: all logits are zero in float32.
    y, unembed = jnp.asarray([1e-30, 0], jnp.float32), jnp.eye(2, dtype=jnp.float32) * 1e-30
    assert not certify(y, y, unembed.astype(jnp.float32)).certified
    huge = jnp.asarray([1e30, 0], jnp.float32), (jnp.eye(2) * 1e30).astype(jnp.float32)
    assert not certify(huge[0], huge[0], huge[1]).certified


def test_a_finer_roundoff_than_the_arrays_own_is_not_believed():
    y = jnp.asarray([1.0, 0.3], jnp.float32)
    y_next = jnp.asarray([0.9, 0.35], jnp.float32)
    ratios = [
        float(certify(y, y_next, jnp.eye(2, dtype=jnp.float32), 2, u).worst_ratio)
        for u in (2.0**-53, None, 2.0**-20)
    ]
    assert ratios[0] == ratios[1] < ratios[2]


def test_pigeonhole_count_is_exact():
    assert pigeonhole_count(1, 1) == 3
    assert pigeonhole_count(16, 576) == 1 << 9216 | 1
    seen = {(count % 2, count // 2 % 2) for count in range(pigeonhole_count(1, 2))}
    assert len(seen) < pigeonhole_count(1, 2)
    with pytest.raises(ValueError, match=r"positive bits and dim, got bits=0 and dim=4\."):
        pigeonhole_count(0, 4)


def test_many_pairs_at_once_are_certified_as_one_by_one(key):
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    unembed, y = rng.normal(size=(VOCAB, DIM)), rng.normal(size=(5, DIM))
    y_next = y + 0.1 * rng.normal(size=(5, DIM))
    many = jax.device_get(certify_pairs(y, y_next, unembed))
    ones = [jax.device_get(certify(a, b, unembed)) for a, b in zip(y, y_next, strict=True)]
    single = jax.tree.map(lambda *rows: np.stack(rows), *ones)
    np.testing.assert_array_equal(many.token, single.token)
    np.testing.assert_array_equal(many.certified, single.certified)
    # Inner products lose what cancels: at most the root of a few hundred roundings.
    slack = np.sqrt(200 * U)
    assert np.all(many.worst_ratio >= single.worst_ratio * (1 - 100 * U))
    np.testing.assert_allclose(many.worst_ratio, single.worst_ratio, rtol=slack)


def test_a_row_that_stands_twice_is_a_tie_and_never_certified():
    unembed = jnp.array([[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    y = jnp.array([[2.0, 0, 0, 0]])
    assert not bool(certify_pairs(y, y, unembed).certified[0])
