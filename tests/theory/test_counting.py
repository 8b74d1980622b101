"""Proposition 6.1 against attention over lists of tokens; failing lengths against searches."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_numbers import nearest as nearest_float
from hypothesis import given, settings
from hypothesis import strategies as st
from squashing_reference import typed_attention

from glassesjax.errors import BadInput
from glassesjax.precision import (
    BF16,
    E4M3FN,
    E5M2,
    F16,
    F32,
    F64,
    first_collision,
    float_format,
    last_distinct,
)
from glassesjax.theory.counting import (
    expected_error_floor,
    failing_length,
    first_wrong_readout,
    nearest,
    ratio_attention,
    stored_total,
)

U = 2.0**-53  # unit roundoff of float64
DIM = 3


@pytest.fixture(scope="module")
def types():
    """Logits, values and residuals of three types."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 3)), rng.normal(size=(3, DIM)), rng.normal(size=(3, DIM))


def outputs(counts, types):
    return np.asarray(ratio_attention(jnp.array(counts, jnp.float64), *map(jnp.array, types)))


def test_zeros_and_ones_by_hand():
    # Two zeros, one one. A zero sees logits 0, ln 4: (2 . 0 + 4 . 1) / 6. A one sees ln 2, 0.
    logits = jnp.log(jnp.array([[1.0, 4.0], [2.0, 1.0]]))
    values = jnp.array([[0.0], [1.0]])
    found = ratio_attention(jnp.array([2.0, 1.0]), logits, values, values)
    np.testing.assert_allclose(found, [[2 / 3], [1 + 1 / 5]], rtol=32 * U)


@pytest.mark.parametrize("tokens", [[0], [1, 0], [1, 1, 0, 0], [2, 0, 1, 1, 1, 2, 1]], ids=str)
def test_it_is_attention_without_a_mask(tokens, types):
    counts = [tokens.count(t) for t in range(3)]
    found, expected = outputs(counts, types)[tokens], typed_attention(tokens, *types)
    # Exponentials of logits of size 4, sums of as many terms as tokens; values of size 4.
    np.testing.assert_allclose(found, expected, atol=4 * (len(tokens) + 24) * U, rtol=0)


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any),
    factor=st.integers(1, 10**6),
)
def test_only_ratios_count(counts, factor):
    rng = np.random.default_rng(1)
    types = tuple(rng.normal(size=shape) for shape in ((3, 3), (3, DIM), (3, DIM)))
    repeated = [count * factor for count in counts]
    # The logarithm of a count, up to 20, is rounded relative to itself.
    np.testing.assert_allclose(
        outputs(counts, types), outputs(repeated, types), atol=4 * 60 * U, rtol=0
    )


def deep(tokens, types, layers, causal=False):
    """Representations of the tokens after some layers; keys and queries are the tokens' own."""
    _, values, resid = types
    found = resid[tokens]
    for _ in range(layers):
        place = list(range(len(tokens)))
        logits = found @ found.T / math.sqrt(DIM)
        found = typed_attention(place, logits, np.tanh(found) @ values, found, causal)
    return found


def test_at_any_depth_without_a_mask(types):
    short, long = deep([1, 0], types, 4), deep([1, 1, 0, 0], types, 4)
    scale = np.abs(long).max()
    # Errors may grow with the logits' slopes; they stay far below any difference of substance.
    np.testing.assert_allclose(short, long[[0, 2]], atol=1e-10 * scale, rtol=0)
    np.testing.assert_allclose(
        deep([0, 1, 0, 1], types, 4)[-1], long[0], atol=1e-10 * scale, rtol=0
    )


def test_a_causal_mask_lets_two_layers_see_the_order(types):
    one, other = [0, 0, 1, 1], [0, 1, 0, 1]  # the same counts and the same last token
    gaps = [
        np.abs(deep(one, types, layers, True)[-1] - deep(other, types, layers, True)[-1]).max()
        for layers in (1, 2)
    ]
    assert gaps[0] <= 64 * U
    assert gaps[1] > 0.01


def test_types_that_do_not_occur(types):
    logits, values, resid = types
    alone = outputs([0, 3, 0], types)
    np.testing.assert_allclose(alone, values[1] + resid, rtol=0, atol=16 * U)
    assert np.isnan(jax.jit(ratio_attention)(jnp.zeros(3), *map(jnp.array, types))).all()
    huge = logits.copy()
    huge[:, 1] = 900.0  # its exponential overflows
    assert np.isfinite(outputs([1, 1, 1], (huge, values, resid))).all()
    far = outputs([1, math.nan, 1], types)
    assert np.isnan(far).all()


def test_one_type_gives_no_count_at_all():
    one = (jnp.zeros((1, 1)), jnp.ones((1, 2)), jnp.zeros((1, 2)))
    run = jax.jit(ratio_attention)
    for count in (1.0, 10.0, 1e300):
        np.testing.assert_array_equal(run(jnp.array([count]), *one), [[1, 1]])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**9), st.integers(0, 10**9), st.fractions())
def test_one_answer_to_two_counts_is_off_by_half_the_gap(n, other, answer):
    errors = abs(answer - n), abs(answer - other)
    floor = Fraction(expected_error_floor(float(other - n)))
    assert sum(errors) / 2 >= floor
    assert max(errors) >= floor
    middle = Fraction(n + other, 2)
    assert abs(middle - n) == abs(middle - other) == floor
    assert Fraction(abs(n - other), 2) == floor  # either count itself: a zero and the whole gap
    assert expected_error_floor() == 0.5


NARROW = (BF16, F16, E4M3FN, E5M2)
# First equal and last distinct 1 + 1/n, first equal 1/n: the counts n of papers' tables.
TABLE = {BF16: (190, 14, 255), F16: (1464, 36, 2047), E4M3FN: (14, 4, 15), E5M2: (6, 3, 7)}
# Also formats whose shares reach the subnormal numbers before they collide.
SMALL = [
    float_format(f"e{e}m{m}") for e, m in ((8, 1), (8, 2), (8, 5), (4, 6), (3, 4), (3, 2), (2, 3))
]


@settings(deadline=None, max_examples=100)
@given(st.floats(-200, 200), st.sampled_from(NARROW))
def test_fractions_are_rounded_as_floats_are(x, fmt):
    assert float(nearest(Fraction(x), fmt)) == nearest_float(x, fmt)


def test_fractions_that_no_float_holds():
    step = Fraction(1, 128)
    above = 1 + step / 2 + Fraction(1, 10**40)
    assert nearest(above, BF16) == 1 + step
    assert nearest(above - Fraction(1, 10**40), BF16) == 1  # a tie goes to the even neighbor
    assert nearest(-above, BF16) == -1 - step


@pytest.mark.parametrize("fmt", NARROW, ids=lambda fmt: fmt.name)
def test_failing_lengths_are_those_of_the_table(fmt):
    """With the beginning-of-sequence token, n that share are n - 1 that are counted."""
    inverse, shifted, last = TABLE[fmt]
    assert failing_length(fmt, "share").first_equal == inverse - 1
    found = failing_length(fmt, "one_plus_share")
    assert (found.first_equal, found.last_distinct) == (shifted - 1, last - 1)


@pytest.mark.parametrize("fmt", [*NARROW[2:], BF16, *SMALL], ids=lambda fmt: fmt.name)
def test_failing_lengths_are_those_of_a_search(fmt):
    """Float64 quotients, searched from the first n on, know nothing of where a search may begin."""
    found, stop = failing_length(fmt, "share"), 4 << fmt.mantissa_bits
    assert found.first_equal + 1 == first_collision(lambda n: 1 / n, fmt, 1, stop)
    found = failing_length(fmt, "one_plus_share")
    # The share is rounded before it is added, and the sum is exact in float64.
    one_plus = lambda n: 1 + np.asarray(fmt.round(jnp.asarray(1 / n)))
    assert found.first_equal + 1 == first_collision(one_plus, fmt, 1, stop)
    assert found.last_distinct + 1 == last_distinct(one_plus, fmt, 1, stop)


def test_where_a_share_underflows():
    found = last_distinct(lambda n: 1 / n, E4M3FN, 1, 1 << 12)
    assert failing_length(E4M3FN, "share").last_distinct + 1 == found == 1023


@pytest.mark.parametrize("fmt", [*NARROW, *SMALL], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("reading", ["share", "one_plus_share"])
def test_the_first_wrong_answer_is_one_of_the_first_two_equal_ones(fmt, reading):
    found = failing_length(fmt, reading)
    assert found.first_wrong - found.first_equal in (0, 1)
    ground = 0 if reading == "share" else 1
    for count in range(found.first_wrong + 1):
        share = stored_total(count, fmt, reading) - ground
        others = range(max(0, count - 8), count + 9)
        nearest_one = min(others, key=lambda other: abs(share - Fraction(1, other + 1)))
        assert (nearest_one == count) == (count < found.first_wrong)


def test_float32_is_predicted_though_no_run_is_that_long():
    assert failing_length(F32, "share")[:2] == (11864337, 11864338)
    assert failing_length(F32, "one_plus_share") == (2946, 2946, 2**24 - 2)
    # The search of the neighbors, in float64, of what is rounded twice.
    assert first_collision(lambda n: 1 / n, F32, 11864000, 11865000) == 11864338


def test_a_search_that_would_not_end_is_refused():
    with pytest.raises(BadInput, match=r"at most 24 mantissa bits, .* got f64 with 52"):
        failing_length(F64, "share")


def test_a_rounded_readout_by_hand():
    # e5m2, one plus a share: slopes 2, 1, 2/3, 1/2 become 2, 1, 0.625, 0.5, and intercepts
    # -3, -5/4, -7/9, -9/16 become -3, -1.25, -0.75, -0.5 (a tie, to even). One one is stored as
    # 1.5: scores 0, 0.25, 0.1875, 0.25, of which the first counts. After two ones 1 + 0.3125 is
    # stored as 1.25: scores -0.5, 0, 0.03125, 0.125.
    assert stored_total(2, E5M2, "one_plus_share") == Fraction(5, 4)
    assert first_wrong_readout(E5M2, "one_plus_share", most=3) == 2
    assert first_wrong_readout(E5M2, "one_plus_share", most=1) is None
