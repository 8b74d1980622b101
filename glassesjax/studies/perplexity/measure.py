"""The perplexity study: how well a model predicts a text with a bounded state, by policy and size.

In windows, each from an empty state, as the paper does; or as one running book.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import jax

from glassesjax.cache import State, Unrolled, empty_state, state_bytes, unroll
from glassesjax.cache.losses import Cell, losses
from glassesjax.cache.policies import SHORT
from glassesjax.files import Row
from glassesjax.model.decoder import Decoder
from glassesjax.model.narrow import under
from glassesjax.precision import F64, RoundingPlan
from glassesjax.runs.fill import Step
from glassesjax.runs.model_fields import overflow_fields
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.studies.perplexity.records import PerplexityRow
from glassesjax.studies.perplexity.rows import (
    Stretch,
    perplexity_row,
    stretches,
    token_losses_name,
)
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.perplexity.stretches import stretch_start
from glassesjax.studies.perplexity.subject import Subject


def measure(
    settings: PerplexitySettings,
    subject: Subject,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[Step[PerplexityRow]]:
    r"""Reads the text once for each format, policy and size.

    .. math:: \exp \Bigl( -\frac1N \sum_t \ln p(x_t \mid x_{<t}) \Bigr)

    Source: arXiv 2401.06104v2, section on language modeling and Table 3.
    Differs: each token but a window's first is scored once under every policy, ``short`` included,
    whose pieces hold from 1 token of context to as many as there are slots. The paper gives its
    baseline the last k tokens.

    Args:
      settings: Settings of the study.
      subject: Weights as they were read and the text.
      done: Whether the row with these key fields exists already; whole windows are skipped.

    Yields:
      What was done, its rows, one a stretch of positions, and the losses of their tokens. For each
      window, or, of a book, for each stretch.
    """
    for name, plan in settings.plans.items():
        steps = _steps(settings, subject, name, done)
        while True:
            # Only while it computes: whoever takes the rows keeps their own setting.
            with jax.enable_x64(plan.carrier == F64):
                step = next(steps, None)
            if step is None:
                break
            yield step


def _steps(
    settings: PerplexitySettings, subject: Subject, name: str, done: Callable[[Row], bool]
) -> Iterator[Step[PerplexityRow]]:
    """Those of one format, whose decoder is freed before that of the next is made."""
    reading = _Reading(subject, settings.plans[name], name if len(settings.formats) > 1 else None)
    prefix = f"{name}: " if reading.format else ""
    for cell in subject.cells[name]:
        key = {"format": reading.format, "policy": cell.name, "slots": cell.slots}
        # Rows of a window are written in order: where its last is on disk, so are the others.
        last = lambda window: {"start": stretch_start(len(window) - 1)}
        left = [
            index
            for index, window in enumerate(subject.windows)
            if not done({**key, "window": index, **last(window)})
        ]
        if not left:
            continue
        decoder, model = reading.decoder, reading.model
        empty = empty_state(decoder.config, cell.policy, cell.slots, decoder.plan)
        # Reads a little with a single layer, whose compiled function serves all layers, so that no
        # row times compilation: a whole chunk, and one that is as long as the last of a window.
        piece = min(settings.chunk, cell.slots) if cell.name == SHORT else settings.chunk
        read_all = functools.partial(
            losses, cell=cell, chunk=settings.chunk, opening=subject.opening
        )
        window = subject.windows[0]
        few = window[: piece + 1 + (len(window) - 1) % piece]
        one, small = Unrolled(model.outer, model.blocks[:1]), State(empty.layers[:1], empty.seen)
        for _ in read_all(one, few, empty=small):
            pass
        for index in left:
            read = read_all(model, subject.windows[index], empty=empty)
            of_cell = f"{prefix}{cell.name} with {cell.slots} slots"
            # Rows of a book are written stretch by stretch, those of a window together.
            if settings.span == "book":
                for part in stretches(read):
                    yield reading.step(f"{of_cell}, from {part.start}", cell, index, [part])
            else:
                of_cell = f"{of_cell}, window {index + 1} of {len(subject.windows)}"
                yield reading.step(of_cell, cell, index, list(stretches(read)))


class _Reading:
    """A model under one plan, and what its rows share; the decoder is made on first use."""

    def __init__(self, subject: Subject, plan: RoundingPlan, format: str | None) -> None:
        self.subject, self.plan, self.format = subject, plan, format

    @functools.cached_property
    def decoder(self) -> Decoder:
        return under(self.subject.model.decoder, self.plan)

    @functools.cached_property
    def model(self) -> Unrolled:
        return unroll(self.decoder)

    @functools.cached_property
    def overflow(self) -> OverflowFields | None:
        """Where the first window's pass overflows first, if it does; looked for once."""
        return overflow_fields(self.subject.model.decoder, self.plan, self.subject.windows[0])

    def step(
        self, name: str, cell: Cell, window: int, parts: Sequence[Stretch]
    ) -> Step[PerplexityRow]:
        """The rows of some stretches of a window, and the losses of their tokens."""
        size = state_bytes(self.decoder.config, cell.policy, cell.slots, self.plan)
        overflow = None if all(math.isfinite(part.nll) for part in parts) else self.overflow
        make = functools.partial(perplexity_row, format=self.format, overflow=overflow)
        names = [token_losses_name(self.format, cell, window, part.start) for part in parts]
        return Step(
            name,
            [make(cell, size, window, part) for part in parts],
            {name: part.losses for name, part in zip(names, parts, strict=True)},
        )
