"""Sufficient condition for two representations to have the same greedy token (Corollary 6.2)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax.borders import NON_NEGATIVE, border
from glassesjax.precision import same_numbers
from glassesjax.precision.bits import peak_exponent, power_of_two, times_power
from glassesjax.theory.norms import DUAL, Norm, vector_norm


class MarginCertificate(NamedTuple):
    """Whether the greedy token is the same for two representations, whatever lies between."""

    token: Int[Array, ""]  #: the greedy token of the first representation
    margin: Float[Array, ""]  #: its logit minus the second largest
    worst_ratio: Float[Array, ""]  #: largest share of a competitor's gap that may be used up
    certified: Bool[Array, ""]  #: whether that share is below one


def _rounding_share(dim: int, unit_roundoff: float) -> float:
    """Bound on the relative rounding error of a sum of ``dim`` products and of the other steps."""
    steps = (dim + 16) * unit_roundoff  # besides the sum: two norms' scaling and roots, products
    # Twice in the denominator: the bound itself is rounded, too.
    return steps / (1 - 2 * steps) if 2 * steps < 1 else float("inf")


class _Scaled(NamedTuple):
    """Two representations times one power of two, and its exponent.

    Logits are linear in both representations, so a common factor changes no greedy token. This
    one makes products with the unembedding's largest entry about one.
    """

    y: Float[Array, "*pairs d"]
    moved: Float[Array, "*pairs"]  # norm of the difference, rounded up
    both: Float[Array, "*pairs"]  # norms of the two together
    floor: Float[Array, "*pairs"]  # what underflow can do to a gap of two logits
    unit: Int[Array, "*pairs"]  # the factor is 2^unit


def _flushed(dim: int, *peaks: Float[Array, "..."]) -> Float[Array, "..."]:
    """Bound on the underflow error of a difference of two logits: products, sums and operands.

    A number below the smallest normal one, as an operand or as a result, may be flushed to zero.
    """
    tiny = jnp.finfo(peaks[0].dtype).tiny
    size = functools.reduce(jnp.add, peaks) + 2
    return 4 * dim * tiny * size


def _unit(unembed: Float[Array, "vocab d"]) -> Int[Array, ""]:
    """The power of two below the largest entry: a maximum of floats, so that nothing is stored.

    A backend may flush subnormal entries to zero; such a matrix is not certified with any unit.
    """
    return peak_exponent(jnp.stack([jnp.max(unembed), jnp.min(unembed)]), 0)


def _lengths(
    rows: Float[Array, "vocab d"], unit: Int[Array, ""], norm: Norm
) -> Float[Array, " vocab"]:
    """Norms of rows with entries up to about 2^unit, rounded up where squares underflow.

    The error of flushing single entries is in ``_flushed``. ``vector_norm`` would scale each row by
    its largest entry in another pass, and XLA would store the array of rows.
    """
    if norm == 1:
        return jnp.sum(jnp.abs(rows), axis=-1)
    if norm == "inf":
        return jnp.max(jnp.abs(rows), axis=-1)
    half = -unit >> 1
    scaled = rows * power_of_two(half, rows.dtype) * power_of_two(-unit - half, rows.dtype)
    lost = rows.shape[-1] * jnp.finfo(rows.dtype).tiny
    return times_power(jnp.sqrt(jnp.sum(scaled * scaled, axis=-1) + lost), unit)


def _scaled(
    y: Float[Array, "*pairs d"],
    y_next: Float[Array, "*pairs d"],
    unembed: Float[Array, "vocab d"],
    norm: Norm,
    share: float,
) -> _Scaled:
    dim, tiny = y.shape[-1], jnp.finfo(y.dtype).tiny
    half = jnp.finfo(y.dtype).maxexp // 2
    across = _unit(unembed)
    # (*pairs, d) -> (*pairs,): one power of two for both rows.
    peak = jnp.maximum(peak_exponent(y, -1), peak_exponent(y_next, -1))
    # A row of zeros has the exponent 0, perhaps above the other's: the result is then less tight.
    unit = jnp.clip(-across, -half, half) - peak
    first, second = (times_power(row, unit[..., None]) for row in (y, y_next))
    among = jnp.maximum(*(jnp.max(jnp.abs(row), axis=-1) for row in (first, second)))
    entry = jnp.maximum(jnp.max(unembed), -jnp.min(unembed))
    floor = _flushed(dim, among, entry)
    if share > 0:
        # The arithmetic of the logits underflows as well, in the units of y itself.
        floor = floor + times_power(_flushed(dim, times_power(among, -unit), entry), unit)
    # Equal rows are at distance zero; of others, a difference may have been flushed to zero.
    equal = jnp.all(same_numbers(y, y_next), axis=-1)
    apart = vector_norm(second - first, norm) + 4 * dim * tiny
    both = vector_norm(first, norm) + vector_norm(second, norm)
    return _Scaled(first, jnp.where(equal, 0, apart), both, floor, unit)


# Compiled, the differences of rows are never stored: they would be as large as the unembedding.
@border(unit_roundoff=NON_NEGATIVE)
@functools.partial(jax.jit, static_argnames=("norm", "unit_roundoff"))
def margin_certificate(
    y: Float[Array, " d"],
    y_next: Float[Array, " d"],
    unembed: Float[Array, "vocab d"],
    norm: Norm = 2,
    unit_roundoff: float | None = None,
) -> MarginCertificate:
    r"""Certificate that two representations have the same greedy token.

    With a the greedy token at y, the token is the same at y' if for every competitor b

    .. math:: \lVert w_a - w_b \rVert_* \lVert y' - y \rVert < \langle w_a - w_b, y \rangle

    in a norm and its dual. Closeness alone is not sufficient: near a tie, however close the two
    are, they can have different tokens, and in any precision they can be rounded apart.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: the corollary infers equal tokens from closeness; this condition is sufficient.

    Args:
      y: The representation whose greedy token is taken; the first of equal logits wins.
      y_next: The other one.
      unembed: One row w per token; a scale or bias of the logits is not known here.
      norm: The norm of y' - y.
      unit_roundoff: That of the arithmetic in which both rows of logits are computed: the gap must
        exceed its error in the worst case, in any order of summation, with the
        range of y's dtype: logits that may underflow or overflow in it are not certified. That of
        y's dtype if absent; zero treats the computed numbers as exact.

    Returns:
      The certificate, in float32 for narrower arrays. Not certified are a tie, a NaN, numbers that
      a backend may flush to zero, and arithmetic too coarse for the width.
    """
    roundoff, (y, y_next, unembed) = _wide(unit_roundoff, y, y_next, unembed)
    share = _rounding_share(y.size, roundoff)
    pair = _scaled(y, y_next, unembed, norm, share)
    # (vocab, d) and (d,) -> (vocab,)
    logits = jnp.matmul(unembed, pair.y, precision="highest")
    unit, dual = _unit(unembed), DUAL[norm]
    # A difference may be twice as large. (And compiled, equal powers for both would be stored as
    # an array as large as the unembedding.)
    apart = _lengths(unembed[jnp.argmax(logits)][None] - unembed, unit + 1, dual)
    sizes = _lengths(unembed, unit, dual) if share > 0 else jnp.zeros_like(apart)
    return _verdict(logits, apart, sizes, pair, share)


@border(unit_roundoff=NON_NEGATIVE)
@functools.partial(jax.jit, static_argnames=("unit_roundoff",))
def margin_certificates(
    y: Float[Array, "pairs d"],
    y_next: Float[Array, "pairs d"],
    unembed: Float[Array, "vocab d"],
    unit_roundoff: float | None = None,
) -> MarginCertificate:
    r"""Certificates of many pairs in the L2 norm, by two matrix products.

    The distances between rows of the unembedding come from their inner products,

    .. math:: \lVert w_a - w_b \rVert^2 = \lVert w_a \rVert^2 + \lVert w_b \rVert^2
        - 2 \langle w_a, w_b \rangle

    plus a bound on the cancellation error, so that the certificate stays sound and is at worst a
    little weaker than ``margin_certificate``.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: as ``margin_certificate``.

    Args:
      y: The representations whose greedy tokens are taken.
      y_next: The other ones.
      unembed: One row w per token.
      unit_roundoff: As for ``margin_certificate``.

    Returns:
      One certificate a pair; each field has a leading axis.
    """
    roundoff, (y, y_next, unembed) = _wide(unit_roundoff, y, y_next, unembed)
    dim, tiny = y.shape[-1], jnp.finfo(y.dtype).tiny
    share = _rounding_share(dim, roundoff)
    pairs = _scaled(y, y_next, unembed, 2, share)
    product = functools.partial(jnp.matmul, precision="highest")
    logits = product(pairs.y, unembed.T)  # pairs vocab
    # Squares in units of the largest entry's power of two, so that they stay in range.
    unit = _unit(unembed)
    greedy = times_power(unembed[jnp.argmax(logits, axis=-1)], -unit)
    sizes = _lengths(unembed, unit, 2)[None]
    scaled, greedy_sizes = times_power(sizes, -unit), vector_norm(greedy, 2)[:, None]
    inner = times_power(product(greedy, unembed.T), -unit)
    # |w - g|^2 by the cosine rule: (pairs, vocab) out of products alone.
    squared = scaled**2 + greedy_sizes**2 - 2 * inner
    # Cancellation error, and underflow of a product in the unembedding's unit.
    relative = _rounding_share(dim, max(roundoff, float(jnp.finfo(y.dtype).eps) / 2))
    flushed = times_power(8 * dim * jnp.asarray(tiny, y.dtype), jnp.maximum(-unit, 0))
    lost = 2 * relative * (scaled + greedy_sizes) ** 2 + flushed
    apart = times_power(jnp.sqrt(jnp.maximum(squared, 0) + lost), unit)
    verdict = functools.partial(_verdict, share=share)
    return jax.vmap(verdict, in_axes=(0, 0, None, 0))(logits, apart, sizes[0], pairs)  # over pairs


def _wide(unit_roundoff: float | None, *arrays: Array) -> tuple[float, tuple[Array, ...]]:
    """The roundoff to allow for, and the arrays in float32 at least."""
    dtype = arrays[0].dtype
    narrow = jnp.finfo(dtype).bits < 32
    wide = tuple(x.astype(jnp.float32) for x in arrays) if narrow else arrays
    if unit_roundoff is None:
        return float(jnp.finfo(dtype).eps) / 2, wide
    # The arithmetic here rounds, too; zero asks for computed numbers to be treated as exact.
    least = float(jnp.finfo(wide[0].dtype).eps) / 2
    return max(unit_roundoff, least) if unit_roundoff > 0 else 0.0, wide


def _verdict(
    logits: Float[Array, " vocab"],
    apart: Float[Array, " vocab"],
    sizes: Float[Array, " vocab"],
    pair: _Scaled,
    share: float,
) -> MarginCertificate:
    """The certificate of the greedy token against every competitor, from norms rounded up.

    ``apart`` are the distances of the greedy token's row from all rows, ``sizes`` their norms.
    """
    token, dim = jnp.argmax(logits), pair.y.shape[-1]
    gap = logits[token] - logits
    # An entry of the difference of two rows may have been flushed to zero.
    moved = (apart + 4 * dim * jnp.finfo(apart.dtype).tiny) * pair.moved
    if share > 0:
        # By Hölder, |<w, y>| and the sum of its terms' sizes are at most the product of norms.
        moved = moved + share * (moved + (sizes + sizes[token]) * pair.both)
        # Logits that overflow have no order.
        largest = jnp.max(
            jax.lax.optimization_barrier(sizes)
        )  # else |w| is stored, for both maxima
        most = times_power(2 * largest * pair.both, -pair.unit)
        moved = jnp.where(jnp.isinf(most), jnp.inf, moved)
    ratio = jnp.where((gap > 0) & jnp.isfinite(gap), (moved + pair.floor) / gap, jnp.inf)
    competes = jnp.arange(logits.size) != token
    worst_ratio = jnp.max(ratio, where=competes, initial=0)
    return MarginCertificate(
        token=token,
        margin=times_power(jnp.min(gap, where=competes, initial=jnp.inf), -pair.unit),
        # NaN is not below one: what is not a number is not certified.
        worst_ratio=worst_ratio,
        certified=worst_ratio < 1,
    )


@border()
def pigeonhole_count(bits: int, dim: int) -> int:
    """Number of different counts among which two must have the same representation.

    A vector of ``dim`` numbers of ``bits`` bits takes at most ``2^(bits dim)`` values. No theorem
    on collapse is needed for this, nor any hypothesis.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: some pair of counts must coincide; the corollary states it for successive ones.

    Args:
      bits: Stored bits of one number; positive.
      dim: Numbers in a representation; positive.

    Returns:
      One more than the number of values; exact.

    Raises:
      ValueError: An argument is not positive.

    Example:
      >>> pigeonhole_count(bits=8, dim=1)
      257
    """
    if bits < 1 or dim < 1:
        raise ValueError(f"Expected positive bits and dim, got bits={bits} and dim={dim}.")
    return 2 ** (bits * dim) + 1
