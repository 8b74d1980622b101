"""Rows of the bounded study: distances of runs, and influence under a policy."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, NoReturn, get_args

import jax.numpy as jnp
import numpy as np

from glassesjax.cache import Policy
from glassesjax.cache.pruned import Reading
from glassesjax.errors import BadInput
from glassesjax.files import Row, Value
from glassesjax.model.config import (
    Alibi,
    Causal,
    DecoderConfig,
    NoPositions,
    Rotary,
    Sinusoidal,
)
from glassesjax.model.decoder import Decoder
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.prompts import family_prompt, start_length
from glassesjax.precision import F32, F64
from glassesjax.precision.arithmetic import rounds_passes
from glassesjax.runs.model_fields import prompt_text
from glassesjax.runs.prompt_fields import PromptText
from glassesjax.studies.bounded.records import RESOLUTION, DistanceRow, Norm, TokenRow, Vectors
from glassesjax.tasks.sequences import run_family
from glassesjax.theory.pruned import counted_up_to, equal_from, paths_left, retained_pairs
from glassesjax.trace.collapse import distance
from glassesjax.trace.influence import Influence
from glassesjax.trace.rollout import Rollout
from glassesjax.trace.shares import squared_shares

NORMS: tuple[Norm, ...] = get_args(Norm)


class Runs(NamedTuple):
    """Prompts of one family as one text, and single tokens appended to some of its prefixes."""

    trunk: tuple[int, ...]
    tried: tuple[int, ...]
    after: tuple[int, ...]
    """How many tokens of the trunk stand before each try."""
    pairs: tuple[tuple[int, int], ...]
    """For each length the two prompts: a row of the trunk, or beyond its length a try."""
    lengths: tuple[int, ...]
    texts: tuple[PromptText, ...]
    """For each length the two prompts as text."""
    lead: int
    """Tokens before the run."""
    tail: int
    """Tokens after it, the same on both sides; 0 or 1."""
    repeats: bool
    """Whether the run is of one repeated token."""


def lay_out(
    family: str, lengths: Sequence[int], seed: int, model: ModelHeader | LanguageModel
) -> Runs:
    """The prompts of a family, in the model's tokens.

    Args:
      family: One whose prompts are prefixes of the longest, or these and one token more.
      lengths: Run lengths.
      seed: Of random digits.
      model: Its tokenizer and context.

    Raises:
      BadInput: A prompt is longer than the context, or the vocabulary lacks a symbol.
    """
    limit = model.config.max_length
    if limit is not None and lengths[-1] > limit:  # before so many symbols are made
        _refuse_length(limit, lengths[-1], family, lengths[-1])
    symbols = [run_family(family).pair(length, seed) for length in lengths]
    encode = functools.partial(family_prompt, model.tokenizer, run_family(family))
    encoded = [(encode(shorter), encode(longer)) for shorter, longer in symbols]
    prompts = [(shorter.tokens, longer.tokens) for shorter, longer in encoded]
    trunk = prompts[-1][1]
    if limit is not None and len(trunk) > limit:
        _refuse_length(limit, lengths[-1], family, len(trunk))
    tries: dict[tuple[int, ...], int] = {}  # in the order of their first use

    def place(prompt: tuple[int, ...]) -> int:
        if prompt == trunk[: len(prompt)]:
            return len(prompt) - 1
        return len(trunk) + tries.setdefault(prompt, len(tries))

    # A prefix of the trunk is in its pass already: row len - 1 is its last token.
    pairs = tuple((place(shorter), place(longer)) for shorter, longer in prompts)
    lead = start_length(model.tokenizer) if family == "ones_bos" else 0
    tail = int(family == "ones_zero")
    return Runs(
        trunk=trunk,
        tried=tuple(prompt[-1] for prompt in tries),
        after=tuple(len(prompt) - 1 for prompt in tries),
        pairs=pairs,
        lengths=tuple(lengths),
        texts=tuple(prompt_text(*pair) for pair in encoded),
        lead=lead,
        tail=tail,
        repeats=family in ("ones", "ones_zero", "ones_bos"),
    )


def _refuse_length(limit: int, length: int, family: str, needed: int) -> NoReturn:
    got = f"{needed} for length {length} of family {family}"
    raise BadInput(f"Expected prompts of at most {limit} tokens, the context, got {got}: use less.")


@dataclasses.dataclass(frozen=True)
class Cell:
    """Unit of measurement: a policy with its capacity, on a family of runs or on a text."""

    kind: Literal["collapse", "influence"]
    positions: str
    policy: Policy
    slots: int
    family: str
    tokens: tuple[int, ...]
    runs: Runs | None

    @property
    def key(self) -> tuple[Value, ...]:
        """Fields that identify the cell."""
        return self.kind, self.positions, str(self.policy), self.slots, self.family

    @property
    def name(self) -> str:
        """Name of the cell for progress lines."""
        parts = (self.kind, self.positions, str(self.policy), str(self.slots), self.family)
        return " ".join(filter(None, parts))

    @property
    def head(self) -> dict[str, Any]:
        """Fields shared by all rows of the cell."""
        return {
            "positions": self.positions,
            "policy": str(self.policy),
            "slots": self.slots,
            "bounded": self.policy.bounded,
        }

    @property
    def last_key(self) -> Row:
        """The key fields of the cell's last row, which closes it; null where one has no such."""
        head = {"kind": self.kind, **self.head, "family": self.family or None}
        if self.runs is not None:
            return head | {"length": self.runs.lengths[-1], "norm": NORMS[-1], "position": None}
        return head | {"length": None, "norm": None, "position": len(self.tokens) - 1}


def collapse_rows(
    cell: Cell, decoder: Decoder, reading: Reading, dense: tuple[np.ndarray, np.ndarray]
) -> Iterator[DistanceRow]:
    """Distances of each length's two prompts.

    Args:
      cell: What was measured.
      decoder: Under the plan of the passes.
      reading: Step by step.
      dense: Representations out of the dense pass: of the text, and of the tries.
    """
    runs: Runs = cell.runs  # pyrefly: ignore[bad-assignment]
    carrier = np.dtype(decoder.plan.carrier_dtype)
    # (seq, model_dim), (tries, model_dim) -> (seq + tries, model_dim); exact for 16 bits
    every = np.concatenate(dense).astype(carrier)
    storage = F64 if every.dtype == np.float64 else F32
    # (lengths, model_dim) each
    first, second = (every[list(side)] for side in zip(*runs.pairs, strict=True))
    gaps = distance(jnp.asarray(first), jnp.asarray(second), storage)
    # The same representations, step by step and as one dense pass: only rounding differs.
    noise = distance(reading.y.astype(carrier), jnp.asarray(dense[0].astype(carrier)), storage)
    # The statement is about passes that round nothing: rounded weights do not sum to one.
    predicted = None if rounds_passes(decoder.plan) else _predicted(cell, decoder.config)
    finite = [bool(np.isfinite(pair).all()) for pair in zip(first, second, strict=True)]
    for index, length in enumerate(runs.lengths):
        row = runs.pairs[index][0]  # of the shorter prompt: in the trunk, or behind it a try
        before = row if row < len(runs.trunk) else runs.after[row - len(runs.trunk)]
        for norm in NORMS:
            gap = float(np.asarray(getattr(gaps, norm))[index])
            resolution = RESOLUTION * float(np.max(np.asarray(getattr(noise, norm))))
            yield DistanceRow(
                **cell.head,
                family=cell.family,
                length=length,
                norm=norm,
                distance=gap,
                resolution=resolution,
                equal=gap <= resolution if finite[index] else None,
                finite=finite[index],
                same_bits=bool(np.array_equal(first[index], second[index])),
                equal_from=predicted,
                prompt_tokens=before + 1,
                prompt_text=runs.texts[index],
            )


def _predicted(cell: Cell, config: DecoderConfig) -> int | None:
    """Length from which on the two must be equal; None where no statement applies."""
    rule, runs, positions = cell.policy, cell.runs, config.positions
    if runs is None or not runs.repeats or not isinstance(config.mask, Causal):
        return None
    nowhere = isinstance(positions, NoPositions)
    relative = nowhere or isinstance(positions, Rotary | Alibi)
    in_logits = relative or (isinstance(positions, Sinusoidal) and positions.where == "query_key")
    # The run alone: equal values have one mean, however attention weighs them.
    if runs.lead == runs.tail == 0:
        return 1 if in_logits else None
    window = rule.bounded and rule.name == "window" and not rule.sinks
    # A token after the run sees no more copies than there are slots.
    if runs.lead == 0:
        fits = rule.bounded and (nowhere or (window and relative))
        return counted_up_to(cell.slots) if fits else None
    # Only a window is certain to evict a token before the run. The logits may depend on positions
    # where the run ends the prompt, on distances where a token is after it; with sinks on neither.
    fits = window and (relative if runs.tail else in_logits)
    if not fits and not (nowhere and rule.bounded and rule.name == "window"):
        return None
    # Sinks beyond the tokens before the run belong to the run.
    inside = max(rule.sinks - runs.lead, 0)
    sinks, layers = rule.sinks, config.num_layers
    return equal_from(layers, cell.slots, sinks=sinks, inside=inside, tail=runs.tail)


class Pruned(NamedTuple):
    """Influence at the embedding under a policy, with its eviction steps."""

    influence: Influence
    rollout: Rollout
    bound: Rollout | None


def influence_rows(
    cell: Cell, reading: Reading, pruned: Pruned, text: Sequence[str]
) -> Iterator[TokenRow]:
    """Influence of each token, and where it was still cached when the last query came."""
    influence = pruned.influence
    # (1, seq) -> (seq,): at the embedding alone
    norms, along, sizes = (
        np.asarray(x, np.float64)[0]
        for x in (influence.frobenius, influence.along, influence.input_norm)
    )
    shares = [squared_shares(each) for each in (norms, along, norms * sizes)]
    last = len(cell.tokens) - 1
    # By the group of heads that keeps it longest: (groups, seq) a layer -> (layers, seq)
    until = np.stack([steps.max(axis=0) for steps in reading.evicted_at])
    # (layers, seq, seq) -> (layers+1, seq) -> (seq,) at the embedding
    left = np.asarray(paths_left(retained_pairs(jnp.asarray(until))))[0]
    at = lambda each, position: None if each is None else float(each[0][position])
    # Straight through a rounding that overflows a derivative may still be finite.
    whole = bool(np.isfinite(np.asarray(reading.y[-1], np.float64)).all())
    bounds: list[float | None] = [None] * len(cell.tokens)
    if pruned.bound is not None:  # in logarithms, since its gain may overflow
        logs = [math.log(x) if x > 0 else -math.inf for x in map(float, pruned.bound.profile[0])]
        bounds = [(log + float(pruned.bound.log_gain)) / math.log(10) for log in logs]
    for position, token in enumerate(cell.tokens):
        plain, lengthwise, scaled = (float(each[position]) for each in shares)
        yield TokenRow(
            **cell.head,
            position=position,
            token=token,
            token_text=text[position],
            frobenius=float(norms[position]),
            finite=whole and bool(np.isfinite(norms[position])),
            standard_error=at(influence.standard_error, position),
            along_standard_error=at(influence.along_standard_error, position),
            spectral=at(influence.spectral, position),
            vectors=Vectors(
                along=float(along[position]),
                input_norm=float(sizes[position]),
                squared_share=plain,
                squared_share_along=lengthwise,
                squared_share_scaled=scaled,
            ),
            rollout=float(pruned.rollout.profile[0][position]),
            log10_repaired=bounds[position],
            # The query at ``last`` still sees what is evicted in that step.
            cached_layers=int(np.sum(until[:, position] >= last)),
            last_cached=int(min(until[:, position].max(), last)),
            reaches=bool(left[position]),
            prompt_tokens=last + 1,
        )
