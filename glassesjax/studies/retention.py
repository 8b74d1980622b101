"""The retention study: which tokens each layer of a bounded cache keeps, and for how long.

A text is read token by token under a policy; from the step at which each layer forgot each token
follow lifetimes by position and by class of word, how recent what is kept is, and how alike the
layers are.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax.cache.advance import unroll
from glassesjax.cache.budget import check_budget, check_context, resolve_slots
from glassesjax.cache.policies import Policy, distinct_policies, policy
from glassesjax.cache.prefill import prefill
from glassesjax.cache.replay import forgotten
from glassesjax.cache.slots import empty_state
from glassesjax.errors import BadInput
from glassesjax.model.decoder import Decoder
from glassesjax.model.language import ModelHeader
from glassesjax.model.pretrained import TOY_POSITIONS, is_toy
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.records import Row, Value, provenance
from glassesjax.settings import check_settings
from glassesjax.studies.opening import (
    check_unread,
    encoding_name,
    open_one,
    reading_limit,
)
from glassesjax.studies.perplexity_rows import Cell, losses
from glassesjax.studies.readable import DIGITS, ranking_obstacle
from glassesjax.studies.retention_rows import Subject, retention_rows
from glassesjax.tasks.sequences import BOS, run_family
from glassesjax.tasks.text import DEFAULT_TEXT, read_text

# What tells one row of a run from another.
KEY = ("policy", "slots", "kind", "item")
CHUNK = 256  # tokens of the full state's pass that go through projections together
DTYPES = {"f32": jnp.float32, "f64": jnp.float64}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetentionSettings:
    """Which tokens does each layer of a bounded cache keep, and for how long?"""

    model: str
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    text: str | None = None
    """What is read: ferry (if absent), a story that comes with this package, kjv, a novel by Jane
    Austen (persuasion, emma), or a UTF-8 file. Not for toy, which reads random digits."""
    max_tokens: int = 1024
    """Most tokens that are read: a longer text is cut there, a shorter one is read whole."""
    policies: tuple[str, ...] = ("tova",)
    """What is evicted: window, h2o, h2o_mean or tova, each with -head or -layer, +SINKS, @RECENT
    and ~DECAY; by default h2o and h2o_mean decide by head, tova by layer."""
    slots: tuple[str, ...] = ("256",)
    """How much a layer may hold: tokens (256), a share of the text (12.5%), or bytes of the whole
    state (2MiB)."""
    format: Literal["f32", "f64"] = "f32"
    """Arithmetic of the passes."""
    positions: str = "none"
    """For toy: the positional encoding."""
    seed: int = 0
    """Seed of the random digits; of the toy and of a run folder, which decoder."""

    def __post_init__(self) -> None:
        check_settings(self)
        names = distinct_policies(self.policies)
        object.__setattr__(self, "policies", names)  # an alias is read, and never written
        for budget in self.slots:
            check_budget(budget)
        for holds, wanted, found in (
            (self.max_tokens >= 1, "--max-tokens of 1 or more", self.max_tokens),
            (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
            (
                self.positions in TOY_POSITIONS,
                f"--positions out of {', '.join(TOY_POSITIONS)}",
                self.positions,
            ),
        ):
            if not holds:
                raise BadInput(f"Wanted {wanted}; found {found}.")
        if any(not policy(name).bounded for name in self.policies):
            wanted = "Wanted policies that forget, for full keeps everything"
            raise BadInput(f"{wanted}; found {', '.join(self.policies)}.")
        if self.positions != "none" and not is_toy(self.model):
            raise BadInput(f"Wanted --positions with the toy only; {self.model} has its own.")
        if self.text is not None and is_toy(self.model):
            wanted = "Wanted --text with a model that reads text; found toy"
            raise BadInput(f"{wanted}, which reads random digits: leave --text out.")


def open_subject(settings: RetentionSettings) -> Subject:
    """The model, its text, and what a layer may hold under each policy.

    Args:
      settings: What is to be measured.

    Returns:
      All of it, the text cut to ``max_tokens``.

    Raises:
      BadInput: The model or the text cannot be opened, the text is empty or longer than the
        model's context, or a policy cannot work with a number of slots.
    """
    header = open_one(settings)
    tokens = _tokens(settings, header)
    if not tokens:
        raise BadInput("Wanted a text of one token or more; found an empty text.")
    cells: dict[tuple[str, int], Policy] = {}
    for name in settings.policies:
        rule = policy(name)
        check_context(header.config, rule, len(tokens))
        options = {"length": len(tokens), "dtype": DTYPES[settings.format]}
        for budget in settings.slots:
            slots = resolve_slots(budget, header.config, rule, **options)
            cells[name, slots] = rule
    return Subject(header.read(), tokens, cells)


def _tokens(settings: RetentionSettings, model: ModelHeader) -> tuple[int, ...]:
    limit, tokenizer = reading_limit(settings.max_tokens, model.config), model.tokenizer
    if isinstance(tokenizer, SymbolTokenizer):
        check_unread(settings.text, settings.model)
        digits = run_family("doubled_digits").pair(limit, settings.seed)[0]
        return tokenizer.encode_symbols((BOS, *digits))[:limit]
    text = read_text(settings.text or DEFAULT_TEXT)
    return tuple(itertools.islice(tokenizer.stream(text), limit))


def measure(
    settings: RetentionSettings,
    subject: Subject,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[tuple[str, list[Row]]]:
    """Reads the text under one policy and number of slots after the other.

    Source: arXiv 2401.06104v2, section 6: Figures 8, 9, 12 and 13, Tables 2 and 5.
    Differs: any policy; classes of words instead of a tagger's; with what is cut off by the end.

    Args:
      settings: What to measure.
      subject: Float32 weights, the text, and the cells.
      done: Whether the row with these key fields is there already; whole cells are left out.

    Yields:
      The name of each cell and its rows, its summary last.
    """
    shared, full = _shared(settings, subject), _Full(settings, subject)
    texts = [subject.model.tokenizer.token_text(token) for token in subject.tokens]
    for (name, slots), rule in subject.cells.items():
        key = {"policy": name, "slots": slots}
        if done({**key, "kind": "summary", "item": "all"}):
            continue
        with jax.enable_x64(settings.format == "f64"):
            found, finite = _evictions(settings, subject, rule, slots)
        made = list(retention_rows(subject.tokens, texts, found, slots))
        made[-1]["text_perplexity"] = full.perplexity
        rows: list[Row] = [{**shared, **key, "finite": finite, **row} for row in made]
        yield f"{name} with {slots} slots", rows


class _Full:
    """What the model makes of the text with everything kept, computed when it is first needed."""

    def __init__(self, settings: RetentionSettings, subject: Subject) -> None:
        self._settings, self._subject = settings, subject

    @functools.cached_property
    def perplexity(self) -> float | None:
        """Of all tokens but the first; none where nothing predicts them, or there is but one."""
        model, tokens = self._subject.model, np.asarray(self._subject.tokens, np.int32)
        if ranking_obstacle(model) or len(tokens) < 2:
            return None
        with jax.enable_x64(self._settings.format == "f64"):
            decoder, rule = _in_format(model.decoder, self._settings.format), policy("full")
            empty = empty_state(decoder.config, rule, len(tokens), DTYPES[self._settings.format])
            cell = Cell("full", rule, len(tokens))
            parts = list(losses(unroll(decoder), tokens, cell, empty, chunk=CHUNK))
        mean = float(np.mean(np.concatenate([part for part, _ in parts])))
        return math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf


def _evictions(
    settings: RetentionSettings, subject: Subject, rule: Policy, slots: int
) -> tuple[list[np.ndarray], bool]:
    """For each layer when it evicted each token, and whether the representations are finite.

    No logits are made.
    """
    decoder = _in_format(subject.model.decoder, settings.format)
    tokens = np.asarray(subject.tokens, np.int32)
    parts, finite = [], True
    for part in prefill(unroll(decoder), tokens, rule, slots=slots):
        parts.append(part.dropped)
        finite &= bool(jnp.isfinite(part.y).all())
    return [forgotten(layer, len(tokens)) for layer in zip(*parts, strict=True)], finite


def _in_format(decoder: Decoder, name: str) -> Decoder:
    return jax.tree.map(lambda weight: weight.astype(DTYPES[name]), decoder)


def _shared(settings: RetentionSettings, subject: Subject) -> dict[str, Value]:
    config = subject.model.decoder.config
    digits = isinstance(subject.model.tokenizer, SymbolTokenizer)
    return {
        "study": "retention",
        "model": subject.model.name,
        "positions": encoding_name(subject.model, settings.positions),
        **provenance(),
        **subject.model.columns,
        "seed": settings.seed,
        "text": DIGITS if digits else settings.text or DEFAULT_TEXT,
        "rankable": not (obstacle := ranking_obstacle(subject.model)),
        "ranking_obstacle": obstacle,
        "prefill": "exact",
        "dtype": {"f32": "float32", "f64": "float64"}[settings.format],
        "rounding": "none",
        "width": config.model_dim,
        "layers": config.num_layers,
        "prompt_tokens": len(subject.tokens),
    }
