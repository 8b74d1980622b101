"""Inputs of the perplexity study: a model, windows of a text, policies and sizes."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from glassesjax.cache import check_context
from glassesjax.cache.baselines import named_policy, named_slots
from glassesjax.cache.losses import Cell, Tokens
from glassesjax.cache.policies import SHORT
from glassesjax.errors import BadInput
from glassesjax.memory import check_memory
from glassesjax.model.config import DecoderConfig, Rotary
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.opening import check_unread, open_one
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.runs.constants import DTYPES
from glassesjax.studies.perplexity.settings import WINDOW, PerplexitySettings
from glassesjax.tasks.sequences import BOS, run_family
from glassesjax.tasks.text import DEFAULT_TEXT, read_text


class Subject(NamedTuple):
    """A model and the text that it reads."""

    model: LanguageModel
    opening: tuple[int, ...]
    """What the model expects before every text."""
    windows: tuple[Tokens, ...]
    """Each with the opening; one, for a book."""
    cells: tuple[Cell, ...]


def open_subject(settings: PerplexitySettings) -> Subject:
    """The model, its windows of the text, and the ways to read them.

    Raises:
      BadInput: The model or the text cannot be opened, the text is too short, a policy cannot work
        with a number of slots, or positions would exceed the model's context.
    """
    header = open_one(settings, settings.positions)
    opening = _opening(header)
    tokens = np.fromiter(itertools.islice(_tokens(settings, header), settings.max_tokens), np.int32)
    windows = _windows(settings, header.config, tokens, opening)
    if not windows:
        raise BadInput("Expected a text with a token to predict, got an empty one: choose another.")
    cells = _cells(settings, header.config, opening, len(windows[0]))
    _check_chunk(settings, header.config, cells)
    return Subject(header.read(), opening, windows, cells)


def _opening(model: ModelHeader) -> tuple[int, ...]:
    tokenizer = model.tokenizer
    if isinstance(tokenizer, SymbolTokenizer):
        return tokenizer.encode_symbols((BOS,))
    return tokenizer.opening


def _tokens(settings: PerplexitySettings, model: ModelHeader) -> Iterator[int]:
    """The text's own tokens, without an opening, piece by piece."""
    tokenizer = model.tokenizer
    if isinstance(tokenizer, SymbolTokenizer):
        check_unread(settings.text, settings.model)
        digits = run_family("doubled_digits").pair(settings.max_tokens, settings.seed)[0]
        yield from tokenizer.encode_symbols(digits)
        return
    before = len(_opening(model))
    text = read_text(settings.text or DEFAULT_TEXT)
    yield from itertools.islice(tokenizer.stream(text), before, None)


def _windows(
    settings: PerplexitySettings, config: DecoderConfig, tokens: Tokens, opening: tuple[int, ...]
) -> tuple[Tokens, ...]:
    """The text in windows that each begin with the opening; a last one without a target goes."""
    size = len(tokens) + len(opening)
    if settings.span == "windows":
        size = _window_size(settings, config)
        if len(opening) >= size:
            expected = f"Expected --windows over {len(opening)}, the tokens that begin each"
            raise BadInput(f"{expected}, got {size}: use longer ones.")
    step, head = size - len(opening), np.asarray(opening, np.int32)
    cut = (tokens[start : start + step] for start in range(0, len(tokens), max(step, 1)))
    windows = (np.concatenate([head, part]) for part in cut)
    return tuple(window for window in windows if len(window) > 1)


def _window_size(settings: PerplexitySettings, config: DecoderConfig) -> int:
    context = config.max_length
    if settings.windows == "context":
        if context is None:
            expected = "Expected a model with a limited context for --windows context"
            raise BadInput(f"{expected}, got one without: give a number.")
        return context
    if settings.windows and context and settings.windows > context and settings.spacing == "true":
        expected = f"Expected --windows of at most {context} tokens, the model's context"
        raise BadInput(f"{expected}, got {settings.windows}: use less, or --spacing compressed.")
    return settings.windows or min(WINDOW, context or WINDOW)


def _cells(
    settings: PerplexitySettings, config: DecoderConfig, opening: tuple[int, ...], length: int
) -> tuple[Cell, ...]:
    """Policies with their sizes, for windows of so many tokens."""
    if settings.spacing != "true" and not isinstance(config.positions, Rotary):
        expected = f"Expected rotary positions for --spacing {settings.spacing}"
        raise BadInput(f"{expected}, got {type(config.positions).__name__}: leave it out.")
    cells, dtype = [], DTYPES[settings.format]
    for name, budget in itertools.product(settings.policies, settings.slots):
        rule, baseline = named_policy(name, SHORT), SHORT if name == SHORT else ""
        spaced = dataclasses.replace(rule, spacing=settings.spacing) if rule.bounded else rule
        slots = named_slots(budget, config, spaced, baseline=baseline, length=length, dtype=dtype)
        cells.append(Cell(name, spaced, slots))
        _check_reach(cells[-1], config, len(opening), length)
    return tuple({(cell.name, cell.slots): cell for cell in cells}.values())


def _check_chunk(
    settings: PerplexitySettings, config: DecoderConfig, cells: tuple[Cell, ...]
) -> None:
    """Every chunk is filled up: the residual stream and what a layer adds to it are there at once.

    The pieces of ``short`` are chunks of their own.
    """
    rows = max(min(settings.chunk, c.slots if c.name == SHORT else settings.chunk) for c in cells)
    needed = 2 * rows * config.model_dim * np.dtype(DTYPES[settings.format]).itemsize
    check_memory(needed, f"a --chunk of {settings.chunk} tokens", "use a smaller one")


def _check_reach(cell: Cell, config: DecoderConfig, opening: int, length: int) -> None:
    if cell.name == SHORT:
        if cell.slots <= opening:
            expected = f"Expected more than {opening} slots for {SHORT}, the tokens that begin each"
            raise BadInput(f"{expected}, got {cell.slots}: use more.")
        length = min(length, cell.slots)
    if not cell.policy.bounded and config.max_length is not None and length > config.max_length:
        expected = (
            f"Expected at most {config.max_length} tokens, the model's context, for {cell.name}"
        )
        raise BadInput(f"{expected}, got {length}: use fewer, or leave {cell.name} out.")
    check_context(config, cell.policy, length, hint="--spacing compressed")
