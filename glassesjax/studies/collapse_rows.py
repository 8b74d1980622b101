"""From two stacks of representations to the rows of the collapse study."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.model.config import DecoderConfig
from glassesjax.model.pretrained import LanguageModel
from glassesjax.precision import F64, FloatFormat, RoundingPlan, float_format
from glassesjax.records import Row
from glassesjax.theory.margin import margin_certificates
from glassesjax.trace.collapse import NORMS, Tokens, distance

_distance = jax.jit(distance, static_argnames=("storage",))


class Cell(NamedTuple):
    """The smallest part of the study that is measured, written and resumed as a whole."""

    positions: str
    format: str
    family: str


class Pairs(NamedTuple):
    """The prompts of one family, shorter and longer, one of each for every length."""

    shorter: tuple[Tokens, ...]
    longer: tuple[Tokens, ...]
    repeats_last: tuple[bool, ...]
    """Whether the theorem's hypothesis on the two prompts holds, by length."""


class Curve(NamedTuple):
    """Two stacks of representations to be compared, and how the rows are named."""

    curve: str
    mode: str
    plan: RoundingPlan
    first: Float[Array, "lengths model_dim"]
    second: Float[Array, "lengths model_dim"]


def curve_rows(
    curves: Sequence[Curve],
    cell: Cell,
    lengths: Sequence[int],
    pairs: Pairs,
    model: LanguageModel,
) -> Iterator[Row]:
    """The rows of one cell, without provenance.

    Args:
      curves: What was measured.
      cell: Encoding, format and family.
      lengths: The run lengths, in the order of the curves' rows.
      pairs: The prompts.
      model: Whose tokens and unembedding.

    Yields:
      One flat row for each curve, norm and length.
    """
    heads = _heads(cell, lengths, pairs, model)
    for curve in curves:
        yield from _rows(curve, float_format(cell.format), model, heads)


def _heads(cell: Cell, lengths: Sequence[int], pairs: Pairs, model: LanguageModel) -> list[Row]:
    """What all rows of one length have in common."""
    return [
        {
            "study": "collapse",
            "model": model.name,
            **cell._asdict(),
            "length": length,
            "prompt_tokens": len(shorter),
            "longer_prompt_tokens": len(longer),
            "repeats_last": repeats,
            "same_last": shorter[-1] == longer[-1],
        }
        for length, shorter, longer, repeats in zip(lengths, *pairs, strict=True)
    ]


def _rows(
    curve: Curve, number: FloatFormat, model: LanguageModel, heads: list[Row]
) -> Iterator[Row]:
    """One row for each norm and length of a curve."""
    apart = jax.device_get(_distance(curve.first, curve.second, number))
    finest = _resolution(curve, number, model.decoder.config, heads)
    answers = _answers(curve, model) if curve.curve == "signal" else [{}] * len(heads)
    for norm in NORMS:
        for index, head in enumerate(heads):
            yield {
                **head,
                "mode": curve.mode,
                "curve": curve.curve,
                "norm": norm,
                "distance": float(getattr(apart, norm)[index]),
                "resolution": float(finest[norm][index]),
                "equal_coordinates": int(apart.equal_coordinates[index]),
                "width": curve.first.shape[1],
                "unit_roundoff": number.unit_roundoff,
                "dtype": curve.plan.dtype.name,
                "rounding": curve.plan.name,
                # The certificate is a statement in the L2 norm, so it stands with that distance.
                **(answers[index] if norm == "l2" else {}),
            }


def _resolution(
    curve: Curve, number: FloatFormat, config: DecoderConfig, heads: list[Row]
) -> dict[str, np.ndarray]:
    """What rounding may do to a distance, by norm, one number a length.

    One rounding for each term of the longest sums (a row of attention, or a row of weights) in
    each layer, each as large as the whole state: an estimate from above, no theorem.
    """
    arithmetic = F64 if curve.mode == "wide" else number
    tokens = np.array([head["longer_prompt_tokens"] for head in heads])
    share = config.num_layers * (config.model_dim + tokens) * arithmetic.unit_roundoff
    state = np.abs(jax.device_get(curve.first))
    largest = state.max(axis=-1)
    finest = jax.device_get(number.ulp(curve.first)).min(axis=-1)
    sizes = {
        "l1": state.sum(axis=-1),
        "l2": np.sqrt((state * state).sum(axis=-1)),
        "linf": largest,
        "relative_l1": np.ones_like(largest),
        # A small coordinate has a fine spacing, and errors as large as the state's.
        "ulp": largest / finest,
    }
    return {norm: share * size for norm, size in sizes.items()}


def _answers(curve: Curve, model: LanguageModel) -> list[Row]:
    """The greedy token of each shorter prompt, and whether the longer one must share it."""
    unembed = model.decoder.unembedding.astype(jnp.float64)
    found = jax.device_get(margin_certificates(curve.first, curve.second, unembed))
    return [
        {
            "token": int(token),
            "token_text": model.tokenizer.token_text(int(token)),
            "margin": float(margin),
            "margin_used": float(worst),
            "certified": bool(certified),
        }
        for token, margin, worst, certified in zip(
            found.token, found.margin, found.worst_ratio, found.certified, strict=True
        )
    ]
