import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_numbers import same_bits

from glassesjax.errors import BadInput
from glassesjax.precision import (
    BF16,
    E2M1,
    E4M3FN,
    E5M2,
    F16,
    F32,
    F64,
    Accumulator,
    FloatFormat,
    accumulate,
    accumulated_product,
)

SUBSCRIPTS = ["td,fd->tf", "knh,ksh->kns", "kns,ksh->knh", "td,vd->tv"]
ORDERS = [
    ("sequential", 1),
    ("chunked", 1),
    ("chunked", 4),
    ("chunked", 64),
    ("pairwise", 1),
    ("split", 1),
    ("split", 3),
    ("split", 8),
]
SIZES = dict(t=3, d=11, f=2, k=2, n=3, s=11, h=5, v=4)
by_order = pytest.mark.parametrize(("order", "size"), ORDERS)


def stored(exact, fmt):
    """The number of a format that is nearest to a fraction, ties to even, or its overflow."""
    if not isinstance(exact, Fraction):
        return exact  # infinity or NaN
    if exact == 0:
        return exact
    top = Fraction(fmt.max)
    exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    exponent -= abs(exact) < Fraction(2) ** exponent  # now floor(log2 |exact|)
    quantum = Fraction(2) ** (max(exponent, fmt.min_exponent) - fmt.mantissa_bits)
    rounded = round(exact / quantum) * quantum  # Python rounds a fraction half to even
    if abs(rounded) > top:
        beyond = math.copysign(fmt.grid.beyond, exact)
        return Fraction(beyond) if math.isfinite(beyond) else beyond
    return rounded


def plus(total, term, fmt, carrier):
    """One addition: in the carrier, then stored in the format (None: not stored)."""
    if isinstance(total, Fraction) and isinstance(term, Fraction):
        total = stored(total + term, carrier)
    else:
        total = float(total) + float(term)
    return total if fmt is None else stored(total, fmt)


def running(terms, fmt, carrier):
    total = Fraction(0)
    for term in terms:
        total = plus(total, term, fmt, carrier)
    return total


def slow_sum(terms, how, carrier):
    """The sum of fractions as the four orders are described, one addition after another."""
    terms = list(terms)
    if how.order == "sequential":
        return running(terms, how.fmt, carrier)
    if how.order == "pairwise":
        length = 2
        while length < len(terms):
            length *= 2
        terms += [Fraction(0)] * (length - len(terms))
        while len(terms) > 1:
            pairs = zip(terms[0::2], terms[1::2], strict=True)
            terms = [plus(a, b, how.fmt, carrier) for a, b in pairs]
        return terms[0]
    width = how.size if how.order == "chunked" else math.ceil(len(terms) / how.size)
    blocks = [terms[i : i + width] for i in range(0, len(terms), max(width, 1))]
    inner = how.fmt if how.order == "split" else None
    sums = [running(block, inner, carrier) for block in blocks]
    return running(sums, how.fmt, carrier)


def as_fractions(row):
    return [Fraction(float(x)) for x in row]


def drawn(seed, shape, dtype, fmt, carrier):
    """Terms of both signs over the format's range, half of them numbers of the format."""
    rng = np.random.default_rng(seed)
    low = max(fmt.min_exponent - fmt.mantissa_bits - 2, -40)
    high = min(int(math.log2(fmt.max)), 40)
    # Each row has a range of its own: sums that round in every binade, and some that overflow.
    base = rng.integers(low, high + 1, (*shape[:-1], 1))
    terms = rng.normal(size=shape) * 2.0 ** (base - rng.integers(0, 6, shape))
    terms = jnp.asarray(terms.astype(dtype))
    return np.where(rng.random(shape) < 0.5, terms, np.nan_to_num(fmt.round(terms), posinf=1))


@by_order
@pytest.mark.parametrize("fmt", [BF16, E4M3FN, E5M2, F16, E2M1], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize(("dtype", "carrier"), [(np.float32, F32), (np.float64, F64)])
def test_equals_exact_fractions(fmt, order, size, dtype, carrier):
    how = Accumulator(fmt, order, size)
    terms = drawn(size, (40, 21), dtype, fmt, carrier)
    found = accumulate(jnp.asarray(terms), how)
    exact = [float(slow_sum(as_fractions(row), how, carrier)) for row in terms]
    assert same_bits(found + 0, np.array(exact, dtype) + 0)  # a zero may have either sign


@by_order
def test_every_length_from_none_to_nine(order, size):
    how = Accumulator(E4M3FN, order, size)
    terms = np.arange(3, 12)[:, None] * np.array([0.37, -1.4, 5.0])
    for n in range(10):
        found = np.asarray(accumulate(jnp.asarray(terms[:n].T), how))
        exact = [float(slow_sum(as_fractions(row), how, F64)) for row in terms[:n].T]
        assert found.tolist() == exact


def exact_product(subscripts, x, y, how):
    """Every entry by its letters' indices."""
    operands, result = subscripts.split("->")
    x_axes, y_axes = operands.split(",")
    letter = (set(operands) - set(result) - {","}).pop()
    product = np.zeros([SIZES[axis] for axis in result])
    for index in itertools.product(*(range(n) for n in product.shape)):
        terms = []
        for term in range(SIZES[letter]):
            at = dict(zip(result + letter, (*index, term), strict=True))
            a, b = (
                float(one[tuple(at[axis] for axis in axes)])
                for one, axes in ((x, x_axes), (y, y_axes))
            )
            terms.append(Fraction(a) * Fraction(b))
        product[index] = slow_sum(terms, how, F64)
    return product


def operands(subscripts, seed=0):
    """Numbers of six bits: their products and short sums are exact in either carrier."""
    rng = np.random.default_rng(seed)
    names = subscripts.split("->")[0].split(",")
    shapes = [[SIZES[axis] for axis in name] for name in names]
    return [rng.integers(-31, 32, shape) / 16 for shape in shapes]


@by_order
@pytest.mark.parametrize("subscripts", SUBSCRIPTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_equals_exact_fractions(subscripts, order, size, dtype):
    how, (x, y) = Accumulator(E4M3FN, order, size), operands(subscripts)
    found = accumulated_product(
        subscripts, jnp.asarray(x.astype(dtype)), jnp.asarray(y.astype(dtype)), how
    )
    exact = exact_product(subscripts, x, y, how)
    assert found.dtype == dtype
    assert np.array_equal(found, exact)
    # The rounding shows: exact sums are other numbers.
    assert not np.array_equal(found, np.einsum(subscripts, x, y))


@pytest.mark.parametrize("fmt", [BF16, E4M3FN, E5M2, F16], ids=lambda fmt: fmt.name)
def test_ones_stop(fmt):
    stop = 2 ** (fmt.mantissa_bits + 1)
    ones = jnp.ones(8 * stop, jnp.float32)
    total = lambda *order: float(accumulate(ones, Accumulator(fmt, *order)))
    assert total() == stop
    assert total("chunked", 4) == 4 * stop
    # A tree adds equal powers of two, which are exact; two parts stop at the same sum each.
    assert total("pairwise") == 8 * stop
    assert total("split", 2) == 2 * stop
    assert total("split", 8) == 8 * stop


def test_an_overflow_stays():
    terms = jnp.float32([448, 448, -448])
    assert np.isnan(accumulate(terms, Accumulator(E4M3FN)))
    terms = jnp.float32([57344, 57344, -57344])
    assert float(accumulate(terms, Accumulator(E5M2))) == math.inf
    assert float(accumulate(terms, Accumulator(E5M2, "chunked", 3))) == 57344


@by_order
def test_compiled_and_mapped_it_is_the_same(order, size):
    how = Accumulator(BF16, order, size)
    terms = jnp.asarray(np.random.default_rng(0).normal(size=(4, 19)).astype(np.float32))
    eager = accumulate(terms, how)
    assert same_bits(jax.jit(lambda t: accumulate(t, how))(terms), eager)
    assert same_bits(jax.vmap(lambda t: accumulate(t, how))(terms), eager)
    x, y = (jnp.asarray(a.astype(np.float32)) for a in operands("td,fd->tf"))
    product = lambda x, y: accumulated_product("td,fd->tf", x, y, how)
    assert same_bits(jax.jit(product)(x, y), product(x, y))
    assert same_bits(jax.vmap(product, (0, None))(x[:, None], y)[:, 0], product(x, y))


@by_order
def test_derivatives_are_those_of_the_exact_sum(order, size):
    how = Accumulator(E4M3FN, order, size)
    terms = jnp.linspace(-2.0, 3.0, 11)
    assert np.array_equal(jax.grad(lambda t: accumulate(t, how))(terms), np.ones(11))
    assert float(jax.jvp(lambda t: accumulate(t, how), (terms,), (terms,))[1]) == jnp.sum(terms)
    x, y = map(jnp.asarray, operands("kns,ksh->knh"))
    rounded = lambda x, y: accumulated_product("kns,ksh->knh", x, y, how)
    exact = lambda x, y: jnp.einsum("kns,ksh->knh", x, y)
    _, pull = jax.vjp(rounded, x, y)
    _, exact_pull = jax.vjp(exact, x, y)
    cotangent = jnp.ones(exact(x, y).shape)
    # Six-bit operands: both ways are exact.
    for ours, theirs in zip(pull(cotangent), exact_pull(cotangent), strict=True):
        assert np.array_equal(ours, theirs)


@by_order
def test_no_array_of_all_terms(order, size):
    if size > 8:
        return  # one chunk is the whole product
    x = jax.ShapeDtypeStruct((64, 256), jnp.float32)
    how = Accumulator(BF16, order, size)
    product = jax.jit(lambda x, y: accumulated_product("td,fd->tf", x, y, how))
    used = product.lower(x, x).compile().memory_analysis().temp_size_in_bytes
    result, terms = 4 * 64 * 64, 4 * 64 * 64 * 256
    # A level or a part each has a result of its own, the operands are padded and turned, and the
    # rounding has some intermediates.
    assert used < (12 + 2 * size + 9) * result < terms / 4


@pytest.mark.parametrize(
    "subscripts",
    [
        "td,fd",
        "td->t",
        "td,fd,d->tf",
        "td,fe->tf",
        "td,fd->tfd",
        "tde,fde->tf",
        "tt,ft->f",
        "td,f->tf",
    ],
)
def test_refused_subscripts(subscripts):
    x = jnp.ones((2, 2))
    with pytest.raises(BadInput, match="one contracted axis"):
        accumulated_product(subscripts, x, x, Accumulator(BF16))


def test_refused_accumulators():
    with pytest.raises(BadInput, match="size 1 of the order pairwise"):
        Accumulator(BF16, "pairwise", 2)
    with pytest.raises(BadInput, match="size"):
        Accumulator(BF16, "chunked", 0)
    with pytest.raises(ValueError, match="float64 carrier"):
        accumulate(jnp.ones(2, jnp.float32), Accumulator(F64))


def test_a_wide_format_changes_nothing_but_the_order():
    terms = jnp.asarray(np.random.default_rng(1).normal(size=64))
    one_after_another = sum(terms.tolist(), 0.0)
    assert float(accumulate(terms, Accumulator(F64))) == one_after_another
    narrow = Accumulator(FloatFormat("e8m4", 8, 4))
    assert float(accumulate(terms, narrow)) != one_after_another
