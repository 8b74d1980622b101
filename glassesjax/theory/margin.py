"""When two close representations must give the same token: what is left of Corollary 6.2."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax.theory.norms import DUAL, Norm, vector_norm


class MarginCertificate(NamedTuple):
    """Whether the greedy token is the same for two representations, whatever lies between."""

    token: Int[Array, ""]  #: the greedy token of the first representation
    margin: Float[Array, ""]  #: its logit minus the second largest
    worst_ratio: Float[Array, ""]  #: largest share of a competitor's gap that may be used up
    certified: Bool[Array, ""]  #: whether that share is below one


def _rounding_share(dim: int, unit_roundoff: float) -> float:
    """Relative error that a sum of ``dim`` products and our few steps beside it can have."""
    steps = (dim + 16) * unit_roundoff  # besides the sum: two norms' scaling and roots, products
    # Twice in the denominator: the bound itself is rounded, too.
    return steps / (1 - 2 * steps) if 2 * steps < 1 else float("inf")


# Compiled, the differences of rows are never stored: they would be as large as the unembedding.
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

    in a norm and its dual. Closeness alone does not do: near a tie, however close the two are,
    they can have different tokens, and in any precision they can be rounded apart.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: the corollary infers equal tokens from closeness; this condition is sufficient.

    Args:
      y: The representation whose greedy token is taken; the first of equal logits wins.
      y_next: The other one.
      unembed: One row w per token; a scale or bias of the logits is not known here.
      norm: The norm of y' - y.
      unit_roundoff: That of the arithmetic in which both rows of logits are computed: the gap must
        leave room for what it can do in the worst case, in any order of summation. That of y's
        dtype if absent; zero takes the computed numbers for exact.

    Returns:
      The certificate. A tie, a NaN or arithmetic too coarse for the width is not certified.
    """
    share = _rounding_share(y.size, _default(unit_roundoff, y.dtype))
    logits = jnp.matmul(unembed, y, precision="highest")
    token = jnp.argmax(logits)
    apart = vector_norm(unembed[token][None] - unembed, DUAL[norm])
    sizes = vector_norm(unembed, DUAL[norm]) if share > 0 else jnp.zeros_like(apart)
    both = vector_norm(y, norm) + vector_norm(y_next, norm)
    return _verdict(logits, apart * vector_norm(y_next - y, norm), sizes, both, share)


@functools.partial(jax.jit, static_argnames=("unit_roundoff",))
def margin_certificates(
    y: Float[Array, "pairs d"],
    y_next: Float[Array, "pairs d"],
    unembed: Float[Array, "vocab d"],
    unit_roundoff: float | None = None,
) -> MarginCertificate:
    r"""The certificate of many pairs in the L2 norm, by two matrix products.

    The distances between rows of the unembedding come from their inner products,

    .. math:: \lVert w_a - w_b \rVert^2 = \lVert w_a \rVert^2 + \lVert w_b \rVert^2
        - 2 \langle w_a, w_b \rangle

    with what cancellation can cost added, so that the certificate stays sound and is at worst a
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
    share = _rounding_share(y.shape[-1], _default(unit_roundoff, y.dtype))
    product = functools.partial(jnp.matmul, precision="highest")
    logits = product(y, unembed.T)  # pairs vocab
    greedy = unembed[jnp.argmax(logits, axis=-1)]
    sizes, greedy_sizes = vector_norm(unembed, 2)[None], vector_norm(greedy, 2)[:, None]
    squared = sizes**2 + greedy_sizes**2 - 2 * product(greedy, unembed.T)
    lost = 2 * share * (sizes + greedy_sizes) ** 2
    apart = jnp.sqrt(jnp.maximum(squared, 0) + lost)
    moved = apart * vector_norm(y_next - y, 2)[:, None]
    both = vector_norm(y, 2) + vector_norm(y_next, 2)
    verdict = functools.partial(_verdict, share=share)
    return jax.vmap(verdict, in_axes=(0, 0, None, 0))(logits, moved, sizes[0], both)


def _default(unit_roundoff: float | None, dtype: jnp.dtype) -> float:
    return float(jnp.finfo(dtype).eps) / 2 if unit_roundoff is None else unit_roundoff


def _verdict(
    logits: Float[Array, " vocab"],
    moved: Float[Array, " vocab"],
    sizes: Float[Array, " vocab"],
    both: Float[Array, ""],
    share: float,
) -> MarginCertificate:
    """The greedy token against every competitor.

    ``moved`` is how far the two logits can have come closer, ``sizes`` the norms of the rows,
    ``both`` the norms of the two representations together.
    """
    token = jnp.argmax(logits)
    gap = logits[token] - logits
    if share > 0:
        # By Hölder, |<w, y>| and the sum of its terms' sizes are at most the product of norms.
        moved = moved + share * (moved + (sizes + sizes[token]) * both)
    ratio = jnp.where(gap > 0, moved / gap, jnp.inf)
    competes = jnp.arange(logits.size) != token
    worst_ratio = jnp.max(ratio, where=competes, initial=0)
    return MarginCertificate(
        token=token,
        margin=jnp.min(gap, where=competes, initial=jnp.inf),
        worst_ratio=worst_ratio,
        certified=worst_ratio < 1,
    )


def pigeonhole_count(bits: int, dim: int) -> int:
    """Number of different counts among which two must have the same representation.

    A vector of ``dim`` numbers of ``bits`` bits takes at most ``2^(bits dim)`` values. No theorem
    on collapse is needed for this, nor any hypothesis.

    Source: arXiv 2406.04267v2, Corollary 6.2 (B.10).
    Differs: some pair of counts must coincide; the corollary speaks of successive ones.

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
        raise ValueError(f"bits and dim must be positive, got bits={bits} and dim={dim}.")
    return 2 ** (bits * dim) + 1
