"""The collapse study: how far apart runs of n and n + 1 are, and what precision leaves of it.

For each family, length and format there are four curves, for float64 two. A format is one of
numbers or a rounding plan. *Signal* is the distance
of the two last representations, once in reference precision on the weights as the format stores
them, and once in the format's native arithmetic, with the error of that difference and whether the
true one is still detectable in it. *Noise floor* is the distance between a representation in native
arithmetic and in reference precision. *Rounded* is the distance of the two representations of the
unrounded weights in reference precision after both are stored in the format, which a plan names
for the output or the residual stream; a plan without either has no such curve.

In the finest format, at the longest length, Theorem 4.2 is also measured in each layer, where the
longer prompt repeats the shorter one's last token.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from glassesjax.cache.slots import check_causal
from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.model.decoder import Decoder
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.narrow import under
from glassesjax.model.prompts import family_prompt
from glassesjax.precision import (
    F32,
    F64,
    FloatFormat,
    NumberFormat,
    RoundingPlan,
    float64_fault,
    on_float64_device,
)
from glassesjax.precision.plan import WEIGHT_SITES
from glassesjax.runs.model_fields import overflow_fields
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.studies.collapse.formats import cell_format, storing, weights_of
from glassesjax.studies.collapse.layers import layer_bounds
from glassesjax.studies.collapse.records import CollapseRow, LayerBounds
from glassesjax.studies.collapse.rows import (
    UNROUNDED,
    Cell,
    Curve,
    Pairs,
    curve_rows,
    wide_resolution,
)
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.tasks.sequences import run_family
from glassesjax.trace.collapse import NORMS, distance, last_representations, pack, pass_size
from glassesjax.trace.noise import paired_noise

SAMPLE = 64  # tokens of the longest prompt that the host reads to measure float32's resolution


def reference_precision(formats: Sequence[str]) -> FloatFormat:
    """The format of reference precision: float64; on a backend that lacks it, float32.

    Args:
      formats: Names of the formats to be measured.

    Raises:
      BadInput: There is no float64, and one of them does not fit into float32.
    """
    if not (fault := float64_fault()):
        return F64
    for name in formats:
        if cell_format(name).plan.carrier != F32:
            got = f"{name} on {jax.default_backend()}, {fault}"
            expected = "Expected --formats that float32 contains where there is no float64"
            raise BadInput(f"{expected}, got {got}: leave it out, or set JAX_PLATFORMS=cpu.")
    return F32


def lay_out(settings: CollapseSettings, model: ModelHeader | LanguageModel) -> dict[str, Pairs]:
    """The prompts of every family, in the model's tokens.

    Raises:
      BadInput: A prompt is longer than the context, the vocabulary lacks a symbol, or the model's
        tokens see later ones, so that prompts do not share their prefixes.
    """
    check_causal(model.config)
    pairs, limit = {}, model.config.max_length
    if limit is not None and settings.lengths[-1] > limit:  # before so many symbols are made
        _refuse_length(limit, settings.lengths[-1], settings.families[0], settings.lengths[-1])
    for name in settings.families:
        family = run_family(name)
        encode = functools.partial(family_prompt, model.tokenizer, family)
        prompt_pairs = (family.pair(length, settings.seed) for length in settings.lengths)
        encoded = [(encode(shorter), encode(longer)) for shorter, longer in prompt_pairs]
        of_name = Pairs.of(encoded)
        longest = max(map(len, of_name.longer))
        if limit is not None and longest > limit:
            _refuse_length(limit, settings.lengths[-1], name, longest)
        pairs[name] = of_name
    return pairs


def _refuse_length(limit: int, length: int, family: str, needed: int) -> NoReturn:
    got = f"{needed} for length {length} of family {family}"
    expected = f"Expected prompts of at most {limit} tokens, the context"
    raise BadInput(f"{expected}, got {got}: use shorter --lengths.")


def measure(
    settings: CollapseSettings,
    positions: str,
    model: LanguageModel,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[tuple[Cell, list[CollapseRow]]]:
    """Measures one model, cell by cell.

    Source: arXiv 2406.04267v2, Theorem 4.2 and Figure 5.
    Differs: five norms, a noise floor, and equality after storage, where the paper draws a line at
    bfloat16's epsilon.

    Args:
      settings: Settings of the study.
      positions: Name of the positional encoding, for the rows.
      model: Its weights as they were read.
      done: Whether the row with these key fields exists already; whole cells are skipped.

    Yields:
      Each cell with its rows, one distance a row, in the unit of its norm.

    Raises:
      BadInput: A prompt does not fit the model.
    """
    precision = reference_precision(settings.formats)

    def complete(cell: Cell) -> bool:
        number_format = cell_format(cell.format)
        curves = [("signal", "reference")]
        if number_format.storage is not None:
            curves.append(("rounded", "reference"))
        if number_format.own_plan(precision) is not None:
            curves += [("signal", number_format.mode), ("noise_floor", number_format.mode)]
        # A cell that lacks a row is measured whole.
        return all(
            done({**cell._asdict(), "curve": curve, "mode": mode, "norm": norm, "length": length})
            for curve, mode in curves
            for norm in NORMS
            for length in settings.lengths
        )

    # Format by format: rounded weights are in memory for one at a time.
    wanted = [
        Cell(positions, name, family) for name in settings.formats for family in settings.families
    ]
    wanted = [cell for cell in wanted if not complete(cell)]
    # All families at once: their sizes fix one program for all.
    passes = _Passes(model, lay_out(settings, model), precision)
    for cell in wanted:
        # Distances are taken in float64, for which JAX needs 64-bit types: on for our own
        # arithmetic, and the caller's setting is back before the caller is.
        with jax.enable_x64(True):
            pairs = passes.pairs[cell.family]
            finite = passes.finite(cell.family)
            curves = _curves(cell, passes, finest=cell.format == finest_format(settings.formats))
            rows = list(curve_rows(curves, cell, settings.lengths, pairs, model, finite=finite))
        yield cell, rows


class _Passes:
    """Representations of all prompts of a family under a plan, each computed once."""

    def __init__(
        self, model: LanguageModel, pairs: Mapping[str, Pairs], precision: FloatFormat
    ) -> None:
        self.pairs, self.precision, self.unrounded = pairs, precision, UNROUNDED[precision]
        trees = [pack([*pair.shorter, *pair.longer]) for pair in pairs.values()]
        sizes = [pass_size(of_family) for of_family in trees]
        # All passes have one size: one compiled function a plan, whatever the family.
        self._size = tuple(max(side) for side in zip(*sizes, strict=True))
        self._model = model.decoder
        self._rounded: tuple[Mapping[str, NumberFormat], Decoder] = ({}, model.decoder)
        self._states: dict[tuple[RoundingPlan, str], tuple[Array, Array]] = {}
        self._sampled: dict[str, Array] = {}

    def __call__(self, plan: RoundingPlan, family: str) -> tuple[Array, Array]:
        """The shorter and the longer prompts' representations, one row for each length."""
        if (plan, family) not in self._states:
            shorter, longer = self.pairs[family].shorter, self.pairs[family].longer
            prompts = [*shorter, *longer]
            y = last_representations(self._decoder(plan), prompts, size=self._size)
            y = on_float64_device(y).astype(jnp.float64)  # exact; so are all distances
            # (2 * lengths, model_dim) -> (lengths, model_dim) twice
            self._states[plan, family] = y[: len(shorter)], y[len(shorter) :]
        return self._states[plan, family]

    def unembedding(self, plan: RoundingPlan) -> Array:
        """The rows that turn such representations into logits."""
        return on_float64_device(self._decoder(plan).unembedding)

    def noisy(self, family: str) -> tuple[Array, Array]:
        """Some shorter prompts in float64 and in float32, a row for each.

        All; where reference precision is float32, those that the host can read in float64 soon.
        """
        if self.precision == F64:
            return self(self.unrounded, family)[0], self(SINGLE, family)[0]
        some = self._sample(family)
        if family not in self._sampled:
            prompts = [self.pairs[family].shorter[at] for at in some]
            wide = under(on_float64_device(self._model), UNROUNDED[F64])
            self._sampled[family] = last_representations(wide, prompts)
        return self._sampled[family], self(self.unrounded, family)[0][np.asarray(some)]

    def growth(self, family: str) -> np.ndarray:
        """By length, how much larger rounding errors may be than those of ``noisy``.

        Sums over n tokens err by the square root of n times a roundoff, with high probability.
        Source: Higham and Mary, SIAM J. Sci. Comput. 41 (2019), after it.
        """
        pairs = self.pairs[family]
        if self.precision == F64:  # all lengths are there
            return np.ones(len(pairs.shorter))
        read = max(len(pairs.shorter[at]) for at in self._sample(family))
        return np.sqrt([max(1.0, len(longer) / read) for longer in pairs.longer])

    def _sample(self, family: str) -> list[int]:
        """Which shorter prompts the host reads: those of up to ``SAMPLE`` tokens, or the shortest.

        Of a text there may be fewer tokens at a greater length.
        """
        counts = [len(prompt) for prompt in self.pairs[family].shorter]
        some = [at for at, count in enumerate(counts) if count <= SAMPLE]
        return some or [counts.index(min(counts))]

    def layers(self, plan: RoundingPlan, family: str) -> LayerBounds | None:
        """Theorem 4.2 of the longest prompts; None where it is about others."""
        pairs = self.pairs[family]
        if not pairs.repeats_last[-1]:
            return None
        return layer_bounds(self._decoder(plan), jnp.asarray(pairs.longer[-1], jnp.int32))

    def finite(self, family: str) -> list[bool]:
        """At which lengths the unrounded representations are finite, if the unembedding is."""
        # (lengths, model_dim) -> (lengths,), shorter and longer prompts
        first, second = (jnp.isfinite(y).all(axis=-1) for y in self(self.unrounded, family))
        unembeds = jnp.isfinite(self._model.unembedding).all()
        return jax.device_get(first & second & unembeds).tolist()

    def _decoder(self, plan: RoundingPlan) -> Decoder:
        """The decoder under a plan.

        Plans of one format share its weights, which are freed before those of the next are made.
        Reference precision widens them as it reads them.
        """
        weights = {site: fmt for site, fmt in weights_of(plan).items() if fmt != F32}
        if self._rounded[0] != weights:
            self._rounded = ({}, self._model)
            if weights:
                self._rounded = (weights, self._model.at(storing(weights)))
        rounded = self._rounded[1]
        alone = plan.rounded.keys() <= set(WEIGHT_SITES)
        if plan.mode == "simulated":
            # A plan that simulates the storage of weights alone has nothing left to do on weights
            # that are stored so already: in float32 they share the program of the unrounded pass.
            if alone and plan.carrier == self.precision and rounded.dtype == F32.dtype:
                plan = self.unrounded
            # Rounded again, a format with scales could move its values.
            elif not all(isinstance(fmt, FloatFormat) for fmt in weights.values()):
                left: dict[str, Any] = dict.fromkeys(weights)
                plan = (
                    RoundingPlan.wide(plan.carrier) if alone else dataclasses.replace(plan, **left)
                )
        return under(rounded, plan)

    def overflow(
        self, plan: RoundingPlan, family: str
    ) -> tuple[int, OverflowFields] | tuple[None, None]:
        """Which length is the first whose representations are finite without the plan alone.

        Returns:
          Its index, and where that pass overflows first; None for both where there is none.
        """
        pairs = self.pairs[family]
        kept = [np.all(np.isfinite(y), axis=-1) for y in map(np.asarray, self(plan, family))]
        for at, fine in enumerate(self.finite(family)):
            for side, prompts in zip(kept, (pairs.shorter, pairs.longer), strict=True):
                if fine and not side[at]:
                    first = overflow_fields(self._model, plan, prompts[at])
                    return (None, None) if first is None else (at, first)
        return None, None


SINGLE = RoundingPlan.everywhere(F32, mode="native")


def finest_format(formats: Sequence[str]) -> str:
    """Of some formats the one with the least unit roundoff, of several the first."""
    return min(formats, key=lambda name: cell_format(name).unit_roundoff)


def _curves(cell: Cell, passes: _Passes, *, finest: bool) -> list[Curve]:
    number_format = cell_format(cell.format)
    own_plan, stored = number_format.own_plan(passes.precision), passes.unrounded
    weights = number_format.weights
    # Our weights are stored in float32 already.
    if any(not isinstance(f, FloatFormat) or not f.contains(F32) for f in weights.values()):
        stored = storing(weights, passes.precision)
    # Each is the shorter and the longer prompts' (lengths, model_dim).
    unrounded, reference = passes(passes.unrounded, cell.family), passes(stored, cell.family)
    wide, single = passes.noisy(cell.family)  # the shorter prompts suffice for the noise
    unit = number_format.unit
    resolution = wide_resolution(wide, single, reference[0], unit, passes.precision)
    growth = passes.growth(cell.family)
    resolution = {norm: each * growth for norm, each in resolution.items()}
    layers = passes.layers(stored, cell.family) if finest else None
    unembedding = passes.unembedding(stored)
    curves = [
        Curve("signal", "reference", stored, *reference, resolution, unembedding, layers=layers)
    ]
    if (kept := number_format.storage) is not None:
        storage = RoundingPlan(output=kept, mode="simulated", carrier=passes.precision)
        # Storage alone: unrounded weights and arithmetic, and one rounding of the result.
        first, second = (kept.round(y) for y in unrounded)
        curves.append(Curve("rounded", "reference", storage, first, second, resolution, None))
    if own_plan is None:
        return curves
    native, mode = passes(own_plan, cell.family), number_format.mode
    noise = paired_noise(*reference, *native, unit)
    # Of two that float64 cannot tell apart there is no difference to detect.
    differs = distance(*reference, unit).l2 > resolution["l2"]
    errors = {norm: getattr(noise, norm) for norm in NORMS}
    unembedding = passes.unembedding(own_plan)
    overflow = passes.overflow(own_plan, cell.family)
    return [
        *curves,
        Curve("signal", mode, own_plan, *native, errors, unembedding, noise, differs,
              overflow=overflow),
        Curve("noise_floor", mode, own_plan, reference[0], native[0], resolution, None),
    ]  # fmt: skip
