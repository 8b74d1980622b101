"""Inputs of the perplexity study: a model, windows of a text, policies and sizes."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from glassesjax.cache import check_context
from glassesjax.cache.baselines import named_policy, named_slots
from glassesjax.cache.losses import Cell, TextTokens
from glassesjax.cache.policies import SHORT
from glassesjax.errors import BadInput
from glassesjax.memory import check_memory
from glassesjax.model.config import DecoderConfig, Rotary
from glassesjax.model.language import LanguageModel
from glassesjax.model.opening import check_unread, open_one
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.precision import F64, RoundingPlan
from glassesjax.precision.wide import check_float64
from glassesjax.studies.perplexity.settings import WINDOW, PerplexitySettings
from glassesjax.tasks.sequences import BOS, run_family
from glassesjax.tasks.text import DEFAULT_TEXT, read_text


class Subject(NamedTuple):
    """A model and the text that it reads."""

    model: LanguageModel
    opening: tuple[int, ...]
    """What the model expects before every text."""
    windows: tuple[TextTokens, ...]
    """Each with the opening; one, for a book."""
    cells: Mapping[str, tuple[Cell, ...]]
    """By format, whose arrays' type decides how many slots there are in some bytes."""


def open_subject(settings: PerplexitySettings) -> Subject:
    """The model, its windows of the text, and the ways to read them.

    Raises:
      BadInput: The model or the text cannot be opened, the text is too short, a policy cannot work
        with a number of slots, or positions would exceed the model's context.
    """
    if any(plan.carrier == F64 for plan in settings.plans.values()):
        check_float64("--formats f64", "leave it out, or set JAX_PLATFORMS=cpu")
    header = open_one(settings, settings.positions)
    tokenizer = header.tokenizer
    if isinstance(tokenizer, SymbolTokenizer):
        check_unread(settings.text, settings.model)
        opening = tokenizer.encode_symbols((BOS,))
        digits = run_family("doubled_digits").pair(settings.max_tokens, settings.seed)[0]
        read = iter(tokenizer.encode_symbols(digits))
    else:
        opening = tokenizer.opening
        # Piece by piece, as a book may be long; the stream begins with the opening.
        text = tokenizer.stream(read_text(settings.text or DEFAULT_TEXT))
        read = itertools.islice(text, len(opening), None)
    tokens = np.fromiter(itertools.islice(read, settings.max_tokens), np.int32)
    windows = _windows(settings, header.config, tokens, opening)
    if not windows:
        raise BadInput("Expected a text with a token to predict, got an empty one: choose another.")
    cells = {}
    for name, plan in settings.plans.items():
        dtype = np.dtype(plan.dtype)
        cells[name] = _cells(settings, header.config, opening, len(windows[0]), plan)
        # Every chunk is padded to its full size, and a layer holds the residual stream and what it
        # adds to it at once: (chunk, model_dim) twice. Pieces of ``short`` are chunks themselves.
        sizes = (cell.slots if cell.name == SHORT else settings.chunk for cell in cells[name])
        rows = max(min(settings.chunk, size) for size in sizes)
        needed = 2 * rows * header.config.model_dim * dtype.itemsize
        check_memory(needed, f"a --chunk of {settings.chunk} tokens", "use a smaller one")
    return Subject(header.read(), opening, windows, cells)


def _windows(
    settings: PerplexitySettings,
    config: DecoderConfig,
    tokens: TextTokens,
    opening: tuple[int, ...],
) -> tuple[TextTokens, ...]:
    """The text in windows that each begin with the opening; a last one without a target goes."""
    context, size = config.max_length, len(tokens) + len(opening)  # of a book, all of it
    if settings.span == "windows":
        if settings.windows == "context":
            if context is None:
                expected = "Expected a model with a limited context for --windows context"
                raise BadInput(f"{expected}, got one without: give a number.")
            size = context
        else:
            size = settings.windows or min(WINDOW, context or WINDOW)
        # Consecutive and compressed position ids do not grow with the text, original ones do.
        if context and size > context and settings.position_ids == "original":
            expected = f"Expected --windows of at most {context} tokens, the model's context"
            raise BadInput(f"{expected}, got {size}: use less, or --position-ids compressed.")
        if len(opening) >= size:
            expected = f"Expected --windows over {len(opening)}, the tokens that begin each"
            raise BadInput(f"{expected}, got {size}: use longer ones.")
    # The opening stands in every window, and takes up room for the text.
    step, head = size - len(opening), np.asarray(opening, np.int32)
    cut = (tokens[start : start + step] for start in range(0, len(tokens), max(step, 1)))
    windows = (np.concatenate([head, part]) for part in cut)
    return tuple(window for window in windows if len(window) > 1)


def _cells(
    settings: PerplexitySettings,
    config: DecoderConfig,
    opening: tuple[int, ...],
    length: int,
    plan: RoundingPlan,
) -> tuple[Cell, ...]:
    """Policies with their sizes, for windows of so many tokens."""
    if settings.position_ids != "original" and not isinstance(config.positions, Rotary):
        expected = f"Expected rotary positions for --position-ids {settings.position_ids}"
        raise BadInput(f"{expected}, got {type(config.positions).__name__}: leave it out.")
    cells = []
    for name, budget in itertools.product(settings.policies, settings.slots):
        rule, baseline = named_policy(name, SHORT), SHORT if name == SHORT else ""
        spaced = (
            dataclasses.replace(rule, position_ids=settings.position_ids) if rule.bounded else rule
        )
        slots = named_slots(budget, config, spaced, baseline=baseline, length=length, dtype=plan)
        cells.append(Cell(name, spaced, slots))
        reach = length
        if name == SHORT:
            # Each of its pieces begins with the opening, at position 0.
            if slots <= len(opening):
                expected = f"Expected more than {len(opening)} slots for {SHORT}"
                got = f"the tokens that begin each, got {slots}"
                raise BadInput(f"{expected}, {got}: use more.")
            reach = min(length, slots)
        context = config.max_length
        if not spaced.bounded and context is not None and reach > context:
            expected = f"Expected at most {context} tokens, the model's context, for {name}"
            raise BadInput(f"{expected}, got {reach}: use fewer, or leave {name} out.")
        check_context(config, spaced, reach, hint="--position-ids compressed")
    # By resolved size: 25% and 64 may be one cell, and the full cache has one size only.
    return tuple({(cell.name, cell.slots): cell for cell in cells}.values())
