"""Probes of the backend's floating-point behavior: small compiled programs.

Operands are arguments of the compiled functions, never constants, so that nothing is evaluated by
the compiler. Results come back as bits where the host might otherwise change them.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jaxtyping import Array, Float32

from glassesjax.precision.bits import magnitude_bits
from glassesjax.precision.formats import BF16
from glassesjax.precision.rounding import bitwise_equal

_WIDTH = 256  # of the matrices: enough for matrix units and for blocked sums to be in use


def backend_report() -> dict[str, str | bool | int]:
    """Measured floating-point behavior of the default backend, with versions and device.

    Returns:
      A flat record, ready for JSON. Versions and device; then one entry for each probe, named as
      a claim, or ending in ``_bits`` for a number of mantissa bits (23 is float32, 10 is tf32,
      7 is bfloat16).
    """
    return {
        "backend": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "casts_elided": casts_elided(),
        "reduce_precision_kept": reduce_precision_kept(),
        "add_flushes_subnormal_operands": subnormals_flushed(jnp.add, -127, -127),
        "multiply_flushes_subnormal_operands": subnormals_flushed(jnp.multiply, -127, 2),
        "multiply_flushes_subnormal_results": subnormals_flushed(jnp.multiply, -64, -64),
        "multiply_add_fused": multiply_add_fused(),
        "matmul_default_bits": product_bits(rows=_WIDTH, precision=None),
        "matmul_highest_bits": product_bits(rows=_WIDTH, precision="highest"),
        "matvec_default_bits": product_bits(rows=1, precision=None),
        "matvec_highest_bits": product_bits(rows=1, precision="highest"),
        "bf16_matmul_sums_in_f32": sums_in_f32(lambda x, ones: x @ ones),
        "bf16_sum_in_f32": sums_in_f32(lambda x, ones: jnp.sum(x, axis=-1)),
        "bf16_softmax_sums_in_f32": softmax_sums_in_f32(),
        "native_bf16_equals_simulated": native_equals_simulated(),
        "x64_enabled": jax.dtypes.canonicalize_dtype(np.float64) == np.float64,
        "float64_exact": float64_exact(),
        "float64_bits_cast": float64_bits_cast(),
    }


def casts_elided() -> bool:
    """Whether a compiled conversion from float32 to bfloat16 and back is left out."""
    there_and_back = jax.jit(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32))
    return bool(there_and_back(jnp.float32(1 + 2**-12)) != 1)


def reduce_precision_kept() -> bool:
    """Whether a compiled ``jax.lax.reduce_precision`` rounds."""
    rounded = jax.jit(lambda x: jax.lax.reduce_precision(x, 8, 7))
    return bool(rounded(jnp.float32(1 + 2**-12)) == 1)


def subnormals_flushed(
    operation: Callable[[Array, Array], Array], exponent: int, other_exponent: int
) -> bool:
    """Whether float32 arithmetic on two powers of two flushes a subnormal operand or result.

    Args:
      operation: One whose exact result here is a power of two from 2^-149 on.
      exponent: Exponent of the first operand, which is subnormal below -126.
      other_exponent: Exponent of the second.

    Returns:
      Whether the result is zero, from its bits.
    """
    x, y = (jnp.asarray(np.ldexp(np.float32(1), e)) for e in (exponent, other_exponent))
    return bool(jax.jit(lambda x, y: magnitude_bits(operation(x, y)))(x, y) == 0)


def multiply_add_fused() -> bool:
    """Whether ``x c - y`` becomes one operation in float32, with the product not rounded."""
    # The square of 1 + 2^-12 ends in 2^-24, half a step, which its rounding drops.
    x, square = jnp.float32(1 + 2**-12), jnp.float32(1 + 2**-11)
    return bool(jax.jit(lambda x, c, y: x * c - y)(x, x, square) != 0)


def product_bits(rows: int, precision: str | None) -> int:
    """Mantissa bits that the operands of a float32 product of matrices keep.

    Args:
      rows: Number of rows of the first matrix; one for a product with a vector.
      precision: As for ``jnp.matmul``; None for the default in force.

    Returns:
      The largest k up to 23 for which all 1 + 2^-1, ..., 1 + 2^-k come out of a product with one.
    """
    # Each row of the product with the identity has the values, with the bits that operands keep.
    values = np.ones(_WIDTH, np.float32)
    values[:23] += 2.0 ** -np.arange(1, 24)
    x, identity = jnp.tile(values, (rows, 1)), jnp.eye(_WIDTH, dtype=jnp.float32)
    product = jax.jit(lambda x, y: jnp.matmul(x, y, precision=precision))(x, identity)
    exact = np.all(np.asarray(product)[:, :23] == values[:23], axis=0)
    return int(np.cumprod(exact).sum())


def sums_in_f32(reduce: Callable[[Array, Array], Array]) -> bool:
    """Whether a reduction of bfloat16 rows accumulates in a wider format.

    Each row adds 2^12, 1 and -2^12, far apart, in one of the six orders. Whatever tree of additions
    is used, in bfloat16 the 1 is lost in some of them.

    Args:
      reduce: Given a matrix and a vector of ones, sums along the rows of the matrix.

    Returns:
      Whether all sums are one.
    """
    # 2^12 + 1 is not a bfloat16: a sum that is stored in between loses the 1 in some order.
    orders = np.array(list(itertools.permutations([2.0**12, 1.0, -(2.0**12)])))
    rows = np.zeros((len(orders), _WIDTH))
    rows[:, [0, _WIDTH // 2, _WIDTH - 1]] = orders
    ones = jnp.ones(_WIDTH, jnp.bfloat16)
    return bool(jnp.all(jax.jit(reduce)(jnp.asarray(rows, jnp.bfloat16), ones) == 1))


def softmax_sums_in_f32() -> bool:
    """Whether the denominator of a bfloat16 softmax is accumulated in a wider format.

    Seven tokens lie 7 below the top one. Four of them together (4 * 9.1e-4) are less than half a
    step at 1 (3.9e-3), all seven are more. Adding up in bfloat16, pairwise or in turn, loses them
    for some position of the top token.
    """
    # The seven e^-7 of a row, 0.0064 in all, are lost one by one beside 1 in bfloat16.
    logits = jnp.asarray(7 * np.eye(8), jnp.bfloat16)
    top = jnp.diagonal(jax.jit(jax.nn.softmax)(logits))
    return bool(jnp.all(top < 1))


def native_equals_simulated() -> bool:
    """Whether a compiled chain of bfloat16 operations is the one that rounds after each in float32.

    Sums and products of two bfloat16 numbers are rounded correctly that way, since float32 has
    more than twice the bits; so a difference is a rounding left out.
    """
    x, y = _thirds(1), _thirds(2)
    native = jax.jit(lambda x, y: _chain(x, y, lambda z: z))
    simulated = jax.jit(lambda x, y: _chain(x, y, BF16.round))
    rounded = native(x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)).astype(jnp.float32)
    return bool(jnp.all(bitwise_equal(rounded, simulated(x, y))))


def _thirds(start: int) -> Float32[Array, " n"]:
    """bfloat16 numbers with all kinds of fractions, in float32."""
    return BF16.round(jnp.arange(start, start + 1024, dtype=jnp.float32) / 3)


def _chain(x: Array, y: Array, store: Callable[[Array], Array]) -> Array:
    z = store(x * y)
    z = store(z + x)
    z = store(z * y)
    return store(z - x)


def float64_exact() -> bool:
    """Whether float64, once enabled, has all its 52 mantissa bits in a sum and a product."""
    with jax.enable_x64(True):
        x = jnp.float64(1 + 2.0**-52)
        total, square = jax.jit(lambda x: (x + x, x * x))(x)
        return bool(total == 2 + 2.0**-51) and bool(square == 1 + 2.0**-51)


def float64_bits_cast() -> bool:
    """Whether float64 can be cast to its bits, which rounding and spacings need."""
    with jax.enable_x64(True):
        x = jnp.float64(1 + 2.0**-52)
        try:
            bits = jax.jit(lambda x: jax.lax.bitcast_convert_type(x, jnp.uint64))(x)
            return int(bits) == (1023 << 52) + 1
        except (jax.errors.JaxRuntimeError, NotImplementedError):  # as the TPU's compiler says it
            return False
