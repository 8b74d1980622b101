"""Positions of tokens and what each sees: layouts, masks and positional encodings."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from glassesjax.model.config import Alibi, Mask, Rotary

# Marks rows that only fill an array up to a common length: they see one another and nothing else,
# and no other row sees them.
PADDING = -1


class Layout(NamedTuple):
    """A sequence, or a tree of one trunk and several tails that grow from it.

    A tail is a prompt's end beside the trunk instead of in it: it sees the first ``stem`` tokens of
    the trunk and its own tokens up to itself, and no other tail. Causal rows do not depend on later
    ones, so one pass over a tree gives the rows of all its prompts. Rows come after all that they
    see: the trunk in order, then each tail in order.
    """

    position: Int[Array, " seq"]
    """Absolute position of the token in its own prompt, from 0."""
    branch: Int[Array, " seq"]
    """0 for the trunk, a number from 1 for each tail, -1 for padding."""
    stem: Int[Array, " seq"]
    """How many tokens of the trunk the token sees."""
    until: Int[Array, "seq groups"] | None = None
    """Last position whose query still sees the token, for each group of heads; None where no token
    is ever evicted."""

    @classmethod
    def line(cls, length: int) -> "Layout":
        """One ordinary sequence.

        Args:
          length: Number of tokens.

        Returns:
          A layout whose tokens see all before them.
        """
        position = jnp.arange(length, dtype=jnp.int32)
        return cls(position, jnp.zeros_like(position), position + 1)


def visible(mask: Mask, query: Layout, key: Layout) -> Bool[Array, "query key"]:
    """Which keys each query may attend to.

    Args:
      mask: The decoder's mask.
      query: Layout of the queries.
      key: Layout of the keys.

    Returns:
      True where the pair is attended. Every row sees at least itself.
    """
    # (query, 1) against (1, key); padding, branch -1, equals padding only
    same = query.branch[:, None] == key.branch[None, :]
    trunk = (key.branch == 0)[None, :] & (key.position[None, :] < query.stem[:, None])
    return (trunk | same) & mask.sees(query.position[:, None], key.position[None, :])


def held(query: Layout, until: Int[Array, "key groups"]) -> Bool[Array, "groups query key"]:
    """Which keys a bounded state has not evicted before each query.

    Args:
      query: Layout of the queries.
      until: The keys' own, as in ``Layout``.

    Returns:
      True where the pair may be attended, for each group of heads.
    """
    # (key, groups) -> (groups, 1, key), against (1, query, 1)
    return until.T[:, None, :] >= query.position[None, :, None]


def sinusoidal(
    position: Int[Array, " seq"], dim: int, base: float, dtype: jnp.dtype
) -> Float[Array, "seq dim"]:
    r"""Sines and cosines of the position, interleaved.

    .. math:: p_{t, 2i} = \sin(t\, b^{-2i/d}), \quad p_{t, 2i+1} = \cos(t\, b^{-2i/d})

    Args:
      position: Absolute positions.
      dim: Width of the result; even.
      base: The longest wavelength over 2 pi.
      dtype: Type in which angles and results are computed.

    Returns:
      One vector per position.
    """
    angle = _angles(position, _ladder(dim, base, dtype))
    # (seq, dim / 2, 2) -> (seq, dim): a sine beside its cosine
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1).reshape(len(position), dim)


def rotate(
    x: Float[Array, "seq heads head_dim"],
    position: Int[Array, " seq"] | Float[Array, " seq"],
    rotary: Rotary,
) -> Float[Array, "seq heads head_dim"]:
    """Queries or keys turned by the angle of their position.

    Args:
      x: Queries or keys, in the dtype in which angles are computed as well.
      position: Absolute positions; fractions where a cache moved them.
      rotary: Base, share of rotated coordinates, scale and pairing.

    Returns:
      The rotated vectors; coordinates outside the rotated share are unchanged.
    """
    head_dim = x.shape[-1]
    rotated = rotary.rotated_dim(head_dim)
    if rotary.partial == "head":
        paired, frequency = rotated, _ladder(rotated, rotary.base, x.dtype)
    else:
        # Frequency zero turns by no angle: all pairs stay, those of low frequency unchanged.
        kept = jnp.arange(head_dim // 2) < rotated // 2
        paired, frequency = head_dim, jnp.where(kept, _ladder(head_dim, rotary.base, x.dtype), 0)
    frequency = frequency / jnp.asarray(rotary.scale, x.dtype)
    if rotary.divisors:  # one for each pair that rotates; of the others the frequency is zero
        divisors = (
            jnp.ones(paired // 2, x.dtype)
            .at[: rotated // 2]
            .set(jnp.asarray(rotary.divisors, x.dtype))
        )
        frequency = frequency / divisors
    # (seq, half) -> (seq, 1, half): the same in all heads
    angle = _angles(position, frequency)[:, None, :]
    # (seq, heads, paired) -> (seq, heads, 2, half) where halves are paired, (seq, heads, half, 2)
    # where neighbors are; ``axis`` is that of the two members of a pair.
    axis = -2 if rotary.style == "half" else -1
    shape = (2, paired // 2) if rotary.style == "half" else (paired // 2, 2)
    pairs = x[..., :paired].reshape(*x.shape[:-1], *shape)
    first, second = jnp.take(pairs, 0, axis=axis), jnp.take(pairs, 1, axis=axis)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    if rotary.attention_factor != 1:
        factor = jnp.asarray(rotary.attention_factor, x.dtype)
        # Pairs of frequency zero do not count as rotated.
        factor = jnp.where(jnp.arange(paired // 2) < rotated // 2, factor, 1)[None, None]
        cos, sin = cos * factor, sin * factor
    # Back to (seq, heads, paired) in the same order; the coordinates beyond follow unturned.
    turned = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=axis)
    return jnp.concatenate([turned.reshape(*x.shape[:-1], paired), x[..., paired:]], axis=-1)


def alibi_slopes(alibi: Alibi, num_heads: int, dtype: jnp.dtype) -> Float[Array, " heads"]:
    """What ALiBi subtracts from a head's logits for each token of distance.

    Args:
      alibi: The slopes, or the rule that gives them.
      num_heads: Number of query heads.
      dtype: Type of the result.

    Returns:
      One slope for each query head.
    """
    ladder = lambda heads: tuple(2.0 ** (-8 * (head + 1) / heads) for head in range(heads))
    match alibi.slopes:
        case "geometric":
            slopes = ladder(num_heads)
        case "reference":
            # As in Press et al.'s published code (arXiv 2108.12409).
            power = 1 << (num_heads.bit_length() - 1)  # the greatest power of two among the heads
            slopes = (*ladder(power), *ladder(2 * power)[::2][: num_heads - power])
        case given:
            slopes = given
    return jnp.asarray(slopes, dtype)


def _ladder(dim: int, base: float, dtype: jnp.dtype) -> Float[Array, " half"]:
    # Integers first: a float range may be less exact in 16 bits.
    exponent = jnp.arange(0, dim, 2).astype(dtype) / jnp.asarray(max(dim, 1), dtype)
    return jnp.asarray(base, dtype) ** -exponent


def _angles(
    position: Int[Array, " seq"] | Float[Array, " seq"], frequency: Float[Array, " half"]
) -> Float[Array, "seq half"]:
    # (seq, 1) times (1, half)
    return position.astype(frequency.dtype)[:, None] * frequency[None, :]
