"""The retention study: which tokens each layer of a bounded cache keeps, and for how long.

A text is processed token by token under a policy; from the step at which each layer evicted each
token follow lifetimes by position and by word class, the recency of retained tokens, and the
overlap between layers.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax.cache.advance import unroll
from glassesjax.cache.budget import check_context, resolve_slots
from glassesjax.cache.losses import Cell, losses
from glassesjax.cache.policies import Policy, policy
from glassesjax.cache.prefill import prefill
from glassesjax.cache.readable import ranking_obstacle
from glassesjax.cache.replay import eviction_steps
from glassesjax.cache.slots import empty_state
from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.model.narrow import under
from glassesjax.model.opening import (
    check_unread,
    open_one,
    reading_limit,
)
from glassesjax.model.tiling import TILING
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.precision import F64
from glassesjax.runs.model_fields import overflow_fields
from glassesjax.studies.retention.records import RetentionRow
from glassesjax.studies.retention.rows import Subject, retention_rows
from glassesjax.studies.retention.settings import RetentionSettings
from glassesjax.tasks.sequences import BOS, run_family
from glassesjax.tasks.text import DEFAULT_TEXT, read_text


def open_subject(settings: RetentionSettings) -> Subject:
    """The model, its text, and what a layer may hold under each policy.

    Returns:
      All of it, the text cut to ``max_tokens``.

    Raises:
      BadInput: The model or the text cannot be opened, the text is empty or longer than the
        model's context, or a policy cannot work with a number of slots.
    """
    header = open_one(settings, settings.positions)
    limit, tokenizer = reading_limit(settings.max_tokens, header.config), header.tokenizer
    if isinstance(tokenizer, SymbolTokenizer):
        check_unread(settings.text, settings.model)
        digits = run_family("doubled_digits").pair(limit, settings.seed)[0]
        tokens = tokenizer.encode_symbols((BOS, *digits))[:limit]
    else:
        # A stream, so that a long text is tokenized only up to the limit.
        text = read_text(settings.text or DEFAULT_TEXT)
        tokens = tuple(itertools.islice(tokenizer.stream(text), limit))
    if not tokens:
        raise BadInput("Expected a text of one token or more, got an empty one: choose another.")
    cells: dict[tuple[str, int], Policy] = {}
    for name in settings.policies:
        rule = policy(name)
        check_context(header.config, rule, len(tokens))
        length, plan = len(tokens), settings.plan
        for budget in settings.slots:
            slots = resolve_slots(budget, header.config, rule, length=length, dtype=plan)
            cells[name, slots] = rule  # once, where budgets come to the same number of slots
    return Subject(header.read(), tokens, cells)


def measure(
    settings: RetentionSettings,
    subject: Subject,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[tuple[str, list[RetentionRow]]]:
    """Reads the text under one policy and number of slots after the other.

    Source: arXiv 2401.06104v2, section 6: Figures 8, 9, 12 and 13, Tables 2 and 5.
    Differs: any policy; classes of words instead of a tagger's; with what is cut off by the end.

    Args:
      settings: Settings of the study.
      subject: Weights as they were read, the text, and the cells.
      done: Whether the row with these key fields exists already; whole cells are skipped.

    Yields:
      The name of each cell and its rows, its summary last.
    """
    full = _Full(settings, subject)
    texts = [subject.model.tokenizer.token_text(token) for token in subject.tokens]
    tokens, plan = np.asarray(subject.tokens, np.int32), settings.plan
    for (name, slots), rule in subject.cells.items():
        if done({"policy": name, "slots": slots, "kind": "summary"}):
            continue
        overflow = None
        with jax.enable_x64(plan.carrier == F64):
            decoder, parts, finite = under(subject.model.decoder, plan), [], True
            # Representations and evictions alone: no logits are made.
            for part in prefill(unroll(decoder), tokens, rule, slots=slots):
                parts.append(part.dropped)
                finite &= bool(jnp.isfinite(part.y).all())
            # By chunk and layer -> for each layer (groups, seq)
            evicted = [eviction_steps(layer, len(tokens)) for layer in zip(*parts, strict=True)]
            if not finite:
                overflow = overflow_fields(subject.model.decoder, plan, tokens)
        rows = retention_rows(
            subject.tokens,
            texts,
            evicted,
            (name, slots),
            finite=finite,
            overflow=overflow,
            text_perplexity=full.perplexity,
        )
        yield f"{name} with {slots} slots", list(rows)


class _Full:
    """The model's pass over the text with the full cache, computed on first use."""

    def __init__(self, settings: RetentionSettings, subject: Subject) -> None:
        self._settings, self._subject = settings, subject

    @functools.cached_property
    def perplexity(self) -> float | None:
        """Of all tokens but the first; none where nothing predicts them, or there is but one."""
        # Lazily: where all cells exist already the model need not run.
        model, tokens = self._subject.model, np.asarray(self._subject.tokens, np.int32)
        if ranking_obstacle(model) or len(tokens) < 2:
            return None
        with jax.enable_x64(self._settings.plan.carrier == F64):
            plan, rule = self._settings.plan, policy("full")
            decoder = under(model.decoder, plan)
            empty = empty_state(decoder.config, rule, len(tokens), plan)
            cell = Cell("full", rule, len(tokens))
            parts = list(losses(unroll(decoder), tokens, cell, empty, chunk=TILING.prefill_chunk))
        # In reference precision: sums of float32 losses of a long text lose digits.
        each = np.concatenate([part for part, _ in parts], dtype=np.float64)
        mean = float(np.mean(each))
        return math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf
