"""Roots and norms without overflow or underflow, with finite derivatives at zero."""

import jax
import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Float, Int

from glassesjax.borders import NON_NEGATIVE, border
from glassesjax.precision.bits import scale_exponent, times_power


def safe_sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Square root whose derivative at zero is defined as zero.

    The true one is infinite, and infinity times the argument's zero derivative is NaN: it
    would spoil the derivative of a sum because of a single term. Of a norm, zero is a subgradient.

    Args:
      x: Any numbers.

    Returns:
      The roots; NaN where negative.
    """
    zero = x == 0
    # The inner where keeps zero out of the root, whose derivative is computed in either branch.
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


@jax.custom_jvp
def safe_abs(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Absolute value whose derivative at zero is zero, midway between its two sides.

    Args:
      x: Any numbers.

    Returns:
      The magnitudes.
    """
    return jnp.abs(x)


@safe_abs.defjvp
def _safe_abs_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x, moved = primals[0], jnp.sign(primals[0]) * tangents[0]
    # A where and not a product: the next function may have an infinite derivative, whose product
    # with zero is NaN.
    return jnp.abs(x), jnp.where(x == 0, 0, moved)


def safe_entr(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Terms :math:`-p \ln p` of an entropy, zero at zero, with derivative zero there.

    The true one is infinite, and a weight that a softmax flushed to zero contributes none.

    Args:
      p: Weights in [0, 1].

    Returns:
      The terms.
    """
    zero = p == 0
    return jnp.where(zero, 0, entr(jnp.where(zero, 1, p)))


@border()
def euclidean_norm(x: Float[Array, "..."], axis: int | tuple[int, ...] = -1) -> Float[Array, "..."]:
    r"""Root of the sum of squares along some axes, without overflow or underflow.

    .. math:: 2^k \sqrt{{\textstyle\sum_i} (2^{-k} x_i)^2}, \qquad
       2^k \le \max_i |x_i| < 2^{k + 1}

    with k clipped so that 2^k and its inverse are normal numbers with room (``scale_exponent``).

    Scaling by a power of two rounds nothing, so the result is that of the plain formula wherever
    that one neither overflows nor underflows. Subnormal numbers count: the norm is zero just
    where all entries are. Its derivative there is zero.

    Args:
      x: float64, float32 or a 16-bit type, which is summed in float32.
      axis: Along which squares are summed.

    Returns:
      One norm each, in the dtype of x; infinite where it is too large for that.
    """
    wide = x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
    # In units of the largest entry: no square overflows, and what underflows is below a roundoff.
    exponent = scale_exponent(wide, axis, keepdims=True)
    scaled = times_power(wide, -exponent)
    root = safe_sqrt(jnp.sum(scaled * scaled, axis=axis, keepdims=True))
    return jnp.squeeze(times_power(root, exponent), axis).astype(x.dtype)


def scaled_gap(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Int[Array, "*shape"]]:
    """Difference of each two values, as a normal number times a power of two.

    Plain subtraction flushes subnormal operands and results to zero on most backends.

    Args:
      a: float32 or float64 values.
      b: Values of the same dtype.

    Returns:
      Magnitudes of the differences, rounded once, and the exponents k, with which they are
      2^k times as large. A magnitude is zero just where the two values are equal, with derivative
      zero there; NaN and infinity as a subtraction gives them.
    """
    # (2, *shape) -> *shape: one unit for both, so that the difference is that of the two.
    exponent = scale_exponent(jnp.stack([a, b]), 0)
    return safe_abs(times_power(b, -exponent) - times_power(a, -exponent)), exponent


def relative_size(
    size: Float[Array, "*shape"], reference: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Quotient of two sizes, with 0 / 0 = 0.

    Args:
      size: Non-negative numbers.
      reference: Likewise.

    Returns:
      The quotients: 0 where both are zero, infinite where only the reference is.
    """
    nothing = (size == 0) & (reference == 0)
    return jnp.where(nothing, 0, size / jnp.where(nothing, 1, reference))


@border(eps=NON_NEGATIVE)
def root_mean_square(x: Float[Array, "*batch d"], eps: float = 0.0) -> Float[Array, "*batch"]:
    r"""Root of mean square plus a constant along the last axis, without overflow or underflow.

    .. math:: \sqrt{\tfrac1d {\textstyle\sum_i} x_i^2 + \varepsilon}

    Args:
      x: float32 or float64.
      eps: The constant; non-negative.

    Returns:
      One root per vector; its derivative is zero where it is.
    """
    mean = euclidean_norm(x) / jnp.sqrt(jnp.asarray(x.shape[-1], x.dtype))
    constant = jnp.full_like(mean, eps**0.5)
    # The root of a sum of two squares, as a norm: neither square overflows.
    return euclidean_norm(jnp.stack([mean, constant], axis=-1))
