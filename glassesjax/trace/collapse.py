"""How far apart the last representations of two prompts are, for many prompts in one pass."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.borders import border, require
from glassesjax.model import Decoder, Layout
from glassesjax.model.positions import PADDING
from glassesjax.model.vocabulary import check_prompts, checked_tokens
from glassesjax.precision import (
    FloatFormat,
    euclidean_norm,
    safe_abs,
    same_numbers,
    ulps_apart,
)
from glassesjax.precision.bits import scale_exponent, times_power
from glassesjax.precision.norms import relative_size, scaled_gap

Tokens = tuple[int, ...]

NORMS = ("l1", "l2", "linf", "relative_l1", "ulp")


class Tree(NamedTuple):
    """Prompts that share a prefix, in one sequence for one pass."""

    tokens: Int[np.ndarray, " seq"]
    """Tokens of the shared prefix, then of the suffixes."""
    layout: Layout
    """Position and branch of each of them."""
    rows: dict[Tokens, int]
    """The row of each prompt's last token."""

    def padded(self, length: int) -> "Tree":
        """The same with rows to that length that no other row sees.

        Args:
          length: Number of rows, at least as many as there are tokens.

        Returns:
          A tree of that many rows.
        """
        # fields: (len(tokens),) -> (length,)
        fill = lambda field, value: jnp.asarray(
            np.pad(field, (0, length - len(self.tokens)), constant_values=value), jnp.int32
        )
        position, branch, stem = self.layout[:3]
        layout = Layout(fill(position, 0), fill(branch, PADDING), fill(stem, 0))
        return Tree(np.asarray(fill(self.tokens, 0)), layout, self.rows)


@border()
def pack(prompts: Sequence[Sequence[int]]) -> list[Tree]:
    """Prompts as few trees, by the prefix identity: a causal row never changes when tokens follow.

    The longest prompt is a shared prefix. A prompt that is a prefix of it is one of its rows
    already; one that leaves it late adds its end as a suffix; one whose end is longer than what it
    shares starts a tree of its own. A run of a repeated token, at all lengths, is one tree without
    suffixes.

    Source: arXiv 2406.04267v2, Theorem 4.2, whose two prompts are the last rows of one.

    Args:
      prompts: Token numbers, each prompt not empty; repeated ones count once.

    Returns:
      The trees; each prompt has a row in exactly one of them.
    """
    check_prompts(prompts)
    prompts = _as_tuples(prompts)
    trunks: list[tuple[np.ndarray, list[tuple[Tokens, int]]]] = []
    # Longest first, so that a trunk comes before its prefixes; then by value, so that the order of
    # the prompts makes no difference.
    for prompt in sorted(set(prompts), key=lambda prompt: (-len(prompt), prompt)):
        tokens = np.asarray(prompt, np.int32)
        # No trunk is shorter than the prompt, so that the first difference is the shared length.
        differs = [trunk[: len(tokens)] != tokens for trunk, _ in trunks]
        shared = [int(np.argmax(np.append(each, True))) for each in differs]
        best = int(np.argmax(shared)) if shared else 0
        if shared and 2 * shared[best] >= len(tokens):
            trunks[best][1].append((prompt, shared[best]))
        else:
            trunks.append((tokens, [(prompt, len(tokens))]))
    trees = []
    for trunk, members in trunks:
        line = np.arange(len(trunk), dtype=np.int32)
        # Columns: token, position, branch, and how much of the trunk the branch sees.
        parts, size, rows = [(trunk, line, 0 * line, line + 1)], len(trunk), {}
        for branch, (prompt, stem) in enumerate(members, start=1):
            if stem == len(prompt):
                rows[prompt] = stem - 1
                continue
            tail = np.asarray(prompt[stem:], np.int32)
            ones, after = np.ones_like(tail), np.arange(len(tail), dtype=np.int32)
            parts.append((tail, stem + after, branch * ones, stem * ones))
            size += len(tail)
            rows[prompt] = size - 1
        # parts of four columns -> four columns (seq,)
        tokens, *layout = (np.concatenate(column) for column in zip(*parts, strict=True))
        trees.append(Tree(tokens, Layout(*map(jnp.asarray, layout)), rows))
    return trees


def _as_tuples(prompts: Sequence[Sequence[int]]) -> list[Tokens]:
    """Prompts that can be looked up."""
    return [tuple(map(int, prompt)) for prompt in prompts]


@jax.jit
def _pass(decoder: Decoder, tokens: Array, layout: Layout, rows: Array) -> Array:
    y, _ = decoder(tokens, layout)
    # (seq, model_dim) -> (count, model_dim), the last row of each prompt, then padding
    return y[rows].astype(decoder.plan.carrier_dtype)


@border()
def last_representations(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    size: tuple[int, int] | None = None,
) -> Float[Array, "prompts model_dim"]:
    """The last representation of each prompt, out of one pass for each tree of prompts.

    Source: arXiv 2406.04267v2, section 2: the next token is a function of ``y_n`` only.

    Args:
      decoder: Its mask must be causal; it rounds by its plan.
      prompts: Token numbers of each prompt.
      size: Tokens and prompts that each pass is padded to, so that several calls share one
        compiled function; the smallest that fit if absent.

    Returns:
      One row per prompt, in the carrier of the decoder's plan.

    Raises:
      ValueError: A token is not in the vocabulary; or the mask, or a scale shared by all tokens,
        lets a row depend on later ones, so that prefixes do not share rows.
    """
    if not decoder.config.mask.causal:
        found = type(decoder.config.mask).__name__
        raise ValueError(f"Expected a causal or window mask for the prefix identity, got {found}.")
    if not decoder.plan.row_wise:
        got = decoder.plan.name
        raise ValueError(f"Expected a plan with a scale for each row at most, got {got}.")
    check_prompts(prompts)
    for prompt in prompts:
        checked_tokens(prompt, decoder.config.vocab_size)
    prompts = _as_tuples(prompts)
    trees = pack(prompts)
    # One compiled function for all trees: each is padded to the largest.
    length, count = size or pass_size(trees)
    states: dict[Tokens, Array] = {}
    for tree in (tree.padded(length) for tree in trees):
        rows = np.zeros(count, np.int32)
        rows[: len(tree.rows)] = list(tree.rows.values())
        y = _pass(decoder, jnp.asarray(tree.tokens), tree.layout, jnp.asarray(rows))
        states |= dict(zip(tree.rows, y, strict=False))  # y has padding rows at its end
    return jnp.stack([states[prompt] for prompt in prompts])


@border()
def pass_size(trees: Sequence[Tree]) -> tuple[int, int]:
    """The tokens and the prompts of the largest of some trees.

    Args:
      trees: At least one.

    Returns:
      The most tokens that one of them has, and the most prompts.
    """
    require(len(trees) > 0, "one tree or more", "none", "pack some prompts")
    return max(len(tree.tokens) for tree in trees), max(len(tree.rows) for tree in trees)


class Distance(NamedTuple):
    """How far apart two representations are; each field one number per pair."""

    l1: Float[Array, " pairs"]
    """Sum of absolute differences, the norm of Theorem 4.2."""
    l2: Float[Array, " pairs"]
    """Euclidean."""
    linf: Float[Array, " pairs"]
    """Largest absolute difference, the norm of the paper's Figure 5."""
    relative_l1: Float[Array, " pairs"]
    """``l1`` over the L1 norm of the first: 0 for two rows of zeros, infinite where only the first
    is one."""
    ulp: Float[Array, " pairs"]
    """Largest difference of a coordinate, in units of the format's spacing at the larger of its
    two values; 0 where both are zero. Below one, rounding to the format may make them equal; above
    one it cannot, within the format's range: beyond it, 7 and 30 are both 6 in e2m1."""
    equal_coordinates: Int[Array, " pairs"]
    """Number of coordinates that are equal."""


@border()
def distance(
    first: Float[Array, "pairs model_dim"],
    second: Float[Array, "pairs model_dim"],
    storage: FloatFormat,
) -> Distance:
    """Distances of pairs of representations in all norms.

    Squares, differences and subnormal numbers are not flushed: a distance is zero just where the
    two rows are equal, but for a ``relative_l1`` that is too small for the dtype. At equal rows all
    derivatives are zero. Elsewhere those of ``l1``, ``l2`` and ``linf`` are at most one in size;
    those of ``ulp`` and ``relative_l1``, one over the spacing and over the first row's norm, are
    infinite where these are so small that the inverse is too large for the dtype.

    Args:
      first: The shorter prompts' rows, float32 or float64.
      second: The longer prompts' rows, in the same dtype, best a wide one.
      storage: The format whose spacing is the unit of ``ulp``.

    Returns:
      One number per pair and norm. NaN where a row is NaN; it is never masked.
    """
    # Each coordinate has a unit of its own, and the row that of its largest difference: what is
    # lost in that unit is lost in the sum as well. Equal coordinates have no part in it.
    gap, units = scaled_gap(first, second)
    lowest = jnp.iinfo(units.dtype).min
    exponent = jnp.max(jnp.where(gap == 0, lowest, units), axis=-1)  # (pairs, d) -> (pairs,)
    exponent = jnp.where(exponent == lowest, 0, exponent)  # rows that are equal
    scaled = times_power(gap, units - exponent[:, None])
    unit = scale_exponent(first, -1)
    l1 = jnp.sum(scaled, axis=-1)
    size = jnp.sum(safe_abs(times_power(first, -unit[:, None])), axis=-1)
    return Distance(
        l1=times_power(l1, exponent),
        l2=euclidean_norm(times_power(gap, units)),
        linf=times_power(jnp.max(scaled, axis=-1), exponent),
        relative_l1=times_power(relative_size(l1, size), exponent - unit),
        ulp=jnp.max(ulps_apart(first, second, storage), axis=-1),
        equal_coordinates=jnp.sum(same_numbers(first, second), axis=-1),
    )
