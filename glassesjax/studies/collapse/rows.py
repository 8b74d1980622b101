"""From two stacks of representations to the rows of the collapse study."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from glassesjax.model.pretrained import LanguageModel
from glassesjax.model.prompts import FamilyPrompt
from glassesjax.precision import (
    F32,
    F64,
    FloatFormat,
    RoundingPlan,
    same_numbers,
    ulp_distance,
)
from glassesjax.precision.bits import times_power
from glassesjax.runs.model_fields import prompt_text
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.runs.prompt_fields import PromptText
from glassesjax.studies.collapse.formats import CellFormat, cell_format
from glassesjax.studies.collapse.records import (
    Answer,
    Certificate,
    CollapseRow,
    Detection,
    LayerBounds,
)
from glassesjax.tasks.sequences import repeats_last_token
from glassesjax.theory.margin import margin_certificates
from glassesjax.trace.collapse import NORMS, Distance, Tokens, distance
from glassesjax.trace.noise import PairedNoise

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
    texts: tuple[PromptText, ...]
    """The prompts as text, by length."""

    @classmethod
    def of(cls, encoded: Sequence[tuple[FamilyPrompt, FamilyPrompt]]) -> "Pairs":
        """Of the shorter and the longer prompt of every length."""
        shorter, longer = (
            tuple(each.tokens for each in side) for side in zip(*encoded, strict=True)
        )
        repeats = tuple(map(repeats_last_token, shorter, longer))
        return cls(shorter, longer, repeats, tuple(prompt_text(*pair) for pair in encoded))


# Reference precision on the model's float32 weights, which stay as narrow as they were read: by
# its format, float32 where the backend has no float64.
UNROUNDED = {
    carrier: RoundingPlan(weights=F32, mode="native", carrier=carrier) for carrier in (F64, F32)
}
SAFETY = 8  # rounding errors of two runs differ


class Curve(NamedTuple):
    """Two stacks of representations to be compared, and how the rows are named."""

    curve: Literal["signal", "noise_floor", "rounded"]
    mode: Literal["reference", "native", "simulated"]
    plan: RoundingPlan
    first: Float[Array, "lengths model_dim"]
    second: Float[Array, "lengths model_dim"]
    resolution: Mapping[str, Float[Array, " lengths"]]
    """By norm and length, the distance at or below which rounding may have made it. With ``noise``
    it is the error in the difference of the two, and a smaller one may still be detectable."""
    unembedding: Float[Array, "vocab model_dim"] | None
    """Of the weights that made the two, where they are prompts to be answered."""
    noise: PairedNoise | None = None
    """Of a format's own arithmetic: its error in the difference of the two."""
    differs: Bool[Array, " lengths"] | None = None
    """With ``noise``: where the true difference is told from zero, so that one can ask for it."""
    layers: LayerBounds | None = None
    """Theorem 4.2 of the layers, at the longest length."""
    overflow: tuple[int, OverflowFields] | tuple[None, None] = (None, None)
    """Of a format's own arithmetic: the first length at which it is not finite, by its index, and
    where that pass overflows first."""


def curve_rows(
    curves: Sequence[Curve],
    cell: Cell,
    lengths: Sequence[int],
    pairs: Pairs,
    model: LanguageModel,
    *,
    finite: Sequence[bool],
) -> Iterator[CollapseRow]:
    """The rows of one cell.

    Args:
      curves: What was measured.
      cell: Encoding, format and family.
      lengths: The run lengths, in the order of the curves' rows.
      pairs: The prompts.
      model: Whose tokenizer gives the text of a token.
      finite: For each length, whether the unrounded pass and the unembedding are finite.
    """
    number_format = cell_format(cell.format)
    # What all rows of one length share.
    shared_fields = [
        {
            **cell._asdict(),
            "length": length,
            "prompt_tokens": len(shorter),
            "longer_prompt_tokens": len(longer),
            "repeats_last": repeats,
            "same_last": shorter[-1] == longer[-1],
            "finite": fine,
            "prompt_text": text,
        }
        for length, shorter, longer, repeats, text, fine in zip(
            lengths, *pairs, finite, strict=True
        )
    ]
    for curve in curves:
        yield from _rows(curve, number_format, model, shared_fields)


def _rows(
    curve: Curve,
    number_format: CellFormat,
    model: LanguageModel,
    shared_fields: list[dict[str, Any]],
) -> Iterator[CollapseRow]:
    """One row for each norm and length of a curve."""
    unit = number_format.unit
    apart = jax.device_get(_distance(curve.first, curve.second, unit))
    resolution = jax.device_get(dict(curve.resolution))
    beside = _beside(curve, model, len(shared_fields))
    steps: list[int | None] = [None] * len(shared_fields)
    # Numbers of the format, so that whole steps lie between them, but for a format with scales.
    if curve.curve == "rounded" and number_format.storage == unit:
        # (lengths, model_dim) -> (lengths,)
        coordinates = jax.device_get(ulp_distance(curve.first, curve.second, unit))
        largest = coordinates.max(axis=-1)
        overflow = np.iinfo(largest.dtype).max  # what a NaN's distance is
        steps = [None if most == overflow else int(most) for most in largest]
    longest = len(shared_fields) - 1
    for norm in NORMS:
        for index, shared in enumerate(shared_fields):
            # These are statements in the L2 norm, so they are in that distance's row.
            answer, certificate, detection = beside[index] if norm == "l2" else (None, None, None)
            yield CollapseRow(
                **shared,
                mode=curve.mode,
                curve=curve.curve,
                norm=norm,
                distance=float(getattr(apart, norm)[index]),
                resolution=float(resolution[norm][index]),
                equal_coordinates=int(apart.equal_coordinates[index]),
                unit_roundoff=number_format.unit_roundoff,
                dtype=curve.plan.dtype.name,
                rounding="none" if curve.plan in UNROUNDED.values() else curve.plan.name,
                answer=answer,
                certificate=certificate,
                detection=detection,
                layer_bounds=curve.layers if (norm, index) == ("l1", longest) else None,
                ulp_distance=steps[index] if norm == "ulp" else None,
                overflow=curve.overflow[1] if (norm, index) == ("l2", curve.overflow[0]) else None,
            )


def _beside(
    curve: Curve, model: LanguageModel, count: int
) -> list[tuple[Answer | None, Certificate | None, Detection | None]]:
    """Of each length what a row has beside its distance; None for what does not apply."""
    answers: list[Answer | None] = [None] * count
    certificates: list[Certificate | None] = [None] * count
    detections: list[Detection | None] = [None] * count
    if curve.unembedding is not None:
        unembedding = curve.unembedding.astype(curve.first.dtype)  # exact
        margins = jax.device_get(margin_certificates(curve.first, curve.second, unembedding))
        for at, (token, margin) in enumerate(zip(margins.token, margins.margin, strict=True)):
            if not np.isnan(margin):  # of NaN logits none is largest
                text = model.tokenizer.token_text(int(token))
                answers[at] = Answer(token=int(token), token_text=text, margin=float(margin))
        # A statement in reference precision, and not on a format's own arithmetic.
        if curve.mode == "reference":
            certificates = [
                Certificate(margin_used=float(share), certified=bool(yes))
                for share, yes in zip(margins.worst_ratio, margins.certified, strict=True)
            ]
    if curve.noise is not None:
        noise, differs = jax.device_get((curve.noise, curve.differs))
        for at in np.flatnonzero(differs):
            detections[at] = Detection(
                cosine=float(noise.cosine[at]),
                chance=float(noise.chance[at]),
                projection=float(noise.projection[at]),
                projection_noise=float(noise.projection_noise[at]),
                detectable=bool(noise.detectable[at]) if np.isfinite(noise.l2[at]) else None,
            )
    return list(zip(answers, certificates, detections, strict=True))


def wide_resolution(
    wide: Float[Array, "some model_dim"],
    single: Float[Array, "some model_dim"],
    reference: Float[Array, "lengths model_dim"],
    number_format: FloatFormat,
    precision: FloatFormat = F64,
) -> dict[str, Array]:
    """Measured resolution of reference precision: distances below it are rounding noise.

    The noise of float32 is its largest distance from float64, on the unrounded weights; times
    eight, since rounding errors of two runs differ. There is no wider format to compare float64
    with: its noise is taken to be float32's, times the ratio of the unit roundoffs.

    Args:
      wide: Representations of the unrounded weights in float64, of some lengths.
      single: The same in float32's arithmetic.
      reference: Those whose distances this is for: reference precision on the stored weights.
      number_format: The format whose spacing is the unit of ``ulp``.
      precision: Reference precision, float64 or float32.

    Returns:
      One number a norm, the same for all lengths: that of prompts as long as those of ``wide``.
    """
    share = SAFETY * precision.unit_roundoff / F32.unit_roundoff
    noise = by_norm(_distance(wide, single, number_format))
    like = reference[:, 0]
    resolution = {norm: jnp.full_like(like, share * jnp.max(d)) for norm, d in noise.items()}
    # In ulp it is the error of a coordinate in units of the spacing, where that is finest.
    # A coordinate that no arithmetic moves, as one that is zero by construction, has no error.
    still = jnp.all(same_numbers(wide, single), axis=0)  # (some, model_dim) -> (model_dim,)
    error = jnp.where(still, 0, share * jnp.max(noise["linf"]))
    # The spacing is finest where a coordinate happens to be near zero, in whichever run that is.
    # (lengths, model_dim) -> (model_dim,)
    exponent = jnp.min(number_format.ulp_exponent(reference), axis=0)
    # Values so small are noise, and yet ``ulps_apart`` bounds the distance of any two of them.
    most = jnp.asarray(2.0 ** (number_format.mantissa_bits + 2), error.dtype)
    largest = jnp.max(jnp.minimum(times_power(error, -exponent), most))
    ulp = jnp.where(jnp.all(jnp.isfinite(reference)), largest, jnp.nan)
    return resolution | {"ulp": jnp.full_like(resolution["ulp"], ulp)}


def by_norm(distances: Distance) -> dict[str, Array]:
    """The distances without the count of equal coordinates."""
    return {norm: getattr(distances, norm) for norm in NORMS}
