"""The influence study: influence of each token on the last representation, and its bounds.

For each layer and token: the derivative of the last representation in that token's residual
stream, measured with true attention and with constant attention weights, with the rollout, the
printed bound of Theorem 5.1 (which presumes constant weights) and its repair (which does not).
Several passages are measured, since results on one text may be specific to it.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax import draws
from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.memory import check_memory
from glassesjax.model.decoder import Decoder
from glassesjax.model.language import ModelHeader
from glassesjax.model.opening import (
    check_unread,
    open_one,
    reading_limit,
)
from glassesjax.model.tokenizer import ByteLevelTokenizer, SymbolTokenizer
from glassesjax.precision import RoundingPlan
from glassesjax.runs.constants import DTYPES
from glassesjax.studies.influence.records import InfluenceRow
from glassesjax.studies.influence.rows import Bounds, Passage, Subject, influence_rows, log_bound
from glassesjax.studies.influence.settings import InfluenceSettings
from glassesjax.tasks.sequences import BOS, POINTER, run_family
from glassesjax.tasks.text import DEFAULT_TEXT, read_text
from glassesjax.theory.blocks import repaired_rollout
from glassesjax.trace.influence import Influence, estimated_influence, exact_influence
from glassesjax.trace.rollout import (
    BlockStack,
    Rollout,
    block_stack,
    check_bounded,
    check_past,
    printed_rollout,
    rollout,
)
from glassesjax.trace.sizes import check_derivatives, check_probes

# Where a passage begins: behind a paragraph, else a line, else a word, and at most so far on.
BREAKS, REACH = (r"\n\s*\n\s*", r"\n\s*", r"\s+"), 2000


def open_subject(settings: InfluenceSettings) -> Subject:
    """The model and its passages.

    Returns:
      Both, each passage cut to ``max_tokens``.

    Raises:
      BadInput: The model or a text cannot be opened, a passage is empty or longer than the model's
        context, a layer is not there, or the model has no rollout to its last token.
    """
    header = open_one(settings, settings.positions)
    config, itemsize = header.config, {"f32": 4, "f64": 8}[settings.format]
    if settings.method == "estimated":
        check_probes(config, settings.probes, itemsize)
    passages = tuple(_passages(settings, header))
    longest = max(len(passage.tokens) for passage in passages)
    if empty := [passage.text for passage in passages if not passage.tokens]:
        raise BadInput(f"Expected one token or more, got an empty text: give {empty[0]} some.")
    if config.max_length is not None and longest > config.max_length:
        wanted = f"Expected at most {config.max_length} tokens, the context"
        raise BadInput(f"{wanted}, got more: use a lower --max-tokens.")
    if max(settings.spectral_layers, default=0) > config.num_layers:
        wanted = f"Expected --spectral layers from 0 to {config.num_layers}"
        raise BadInput(f"{wanted}, got {max(settings.spectral_layers)}: name one that is there.")
    try:
        check_past(config, longest)
    except ValueError as error:
        raise BadInput(str(error)) from error
    check_bounded(config)
    check_derivatives(config, longest, itemsize, spectral=len(settings.spectral_layers))
    return Subject(header.read(), passages)


def _passages(settings: InfluenceSettings, model: ModelHeader) -> Iterator[Passage]:
    limit, tokenizer = reading_limit(settings.max_tokens, model.config), model.tokenizer
    if isinstance(tokenizer, SymbolTokenizer):
        check_unread(settings.text, settings.model)
        if settings.prompt:
            symbols = (BOS, *settings.prompt)
            yield Passage("prompt", 0, tokenizer.encode_symbols(symbols)[:limit])
            return
        what = f"{settings.passages} --passages of {limit} tokens"
        check_memory(POINTER * limit * settings.passages, what, "use fewer")
        digits = run_family("doubled_digits").pair(limit * settings.passages, settings.seed)[0]
        for at in range(0, len(digits), limit):
            symbols = (BOS, *digits[at : at + limit])
            yield Passage("digits", at, tokenizer.encode_symbols(symbols)[:limit])
        return
    if settings.prompt:
        yield _cut(tokenizer, "prompt", settings.prompt, slice(0, None), limit)
        return
    for name in settings.text or (DEFAULT_TEXT,):
        yield from _of_text(tokenizer, name, read_text(name), settings.passages, limit)


def _of_text(
    tokenizer: ByteLevelTokenizer, name: str, text: str, count: int, limit: int
) -> list[Passage]:
    """Passages at the beginning of all of ``count + 1`` equal parts but the first."""
    if count > len(text):  # and a token has a letter or more
        return [_cut(tokenizer, name, text, slice(0, None), limit)]
    edges = [len(text) * part // (count + 1) for part in range(1, count + 2)]
    parts = itertools.pairwise(edges)
    spread = [slice(_begin(text, start, stop), stop) for start, stop in parts]
    passages = [_cut(tokenizer, name, text, part, limit) for part in spread]
    if count > 1 and all(len(passage.tokens) == limit for passage in passages):
        return passages
    return [_cut(tokenizer, name, text, slice(0, None), limit)]


def _begin(text: str, start: int, stop: int) -> int:
    """The first beginning of a paragraph, a line or a word from ``start`` on that is near."""
    near = text[start : min(stop, start + REACH)]
    matches = (re.search(pattern, near) for pattern in BREAKS)
    return next((start + match.end() for match in matches if match), start)


def _cut(tokenizer: ByteLevelTokenizer, name: str, text: str, part: slice, limit: int) -> Passage:
    tokens = tuple(itertools.islice(tokenizer.stream(text[part]), limit))
    return Passage(name, part.start, tokens)


def measure(
    settings: InfluenceSettings,
    subject: Subject,
    done: Callable[[Row], bool] = lambda row: False,
) -> Iterator[tuple[str, list[InfluenceRow]]]:
    """Measures one kind of attention after the other, passage by passage.

    Source: arXiv 2406.04267v2, Theorem 5.1.
    Differs: measured beside the bound, at every layer; the paper draws no measured derivative.

    Args:
      settings: Settings of the study.
      subject: Float32 weights and the passages.
      done: Whether the row with these key fields exists already; whole kinds are skipped.

    Yields:
      What was done and its rows. First the bounds, which have none of their own, then for each
      passage each kind of attention with one row for each layer and token.
    """
    layers = subject.model.decoder.config.num_layers

    def wanted(passage: Passage, kind: str) -> bool:
        last = {"layer": layers, "position": len(passage.tokens) - 1, "attention": kind}
        return not done({"text": passage.text, "offset": passage.offset, **last})

    left = {p: [kind for kind in settings.attention if wanted(p, kind)] for p in subject.passages}
    left = {passage: kinds for passage, kinds in left.items() if kinds}
    if not left:
        return
    with jax.enable_x64(settings.format == "f64"):
        decoder = subject.model.decoder.at(RoundingPlan.of_dtype(DTYPES[settings.format]))
        bounds = _bounds(decoder, tuple(left))
    # A step of its own: it takes as long as a kind of attention, or longer.
    kinds = [kind for kind in settings.attention if any(kind in some for some in left.values())]
    yield f"bounds for {' and '.join(kinds)} attention", []
    for passage, kinds in left.items():
        tokens = jnp.asarray(passage.tokens)
        with jax.enable_x64(settings.format == "f64"):
            last_finite = _last_is_finite(decoder, tokens)
        for kind in kinds:
            with jax.enable_x64(settings.format == "f64"):
                influence = _influence(settings, decoder, tokens, kind == "frozen")
            beside = bounds[passage], settings.spectral_layers
            rows = influence_rows(
                subject.model,
                passage,
                influence,
                *beside,
                attention=kind,
                last_finite=last_finite,
            )
            place = f", {passage.text} from {passage.offset}" if len(subject.passages) > 1 else ""
            yield f"{kind} attention{place}", list(rows)


def _bounds(decoder: Decoder, passages: Sequence[Passage]) -> dict[Passage, Bounds]:
    """Those of passages of one length together: norms of weights, most of the work, come once."""
    by_passage: dict[Passage, Bounds] = {}
    for length in dict.fromkeys(len(passage.tokens) for passage in passages):
        alike = [passage for passage in passages if len(passage.tokens) == length]
        tokens = jnp.asarray([passage.tokens for passage in alike])
        # Four programs, one after the other: in one, whose loops may run at once, a processor of
        # two cores has hung.
        stacks = _stacks(decoder, tokens)
        rolled = jax.device_get((_rolled(decoder, tokens), _printed(stacks), _repaired(stacks)))
        for index, passage in enumerate(alike):
            plain, printed, repaired = jax.tree.map(lambda x, i=index: x[i], rolled)
            by_passage[passage] = Bounds(
                pi=np.asarray(plain.profile, np.float64),
                shares=np.asarray(plain.shares, np.float64),
                printed=log_bound(printed),
                repaired=log_bound(repaired),
            )
    return by_passage


@jax.jit
def _stacks(decoder: Decoder, tokens: jax.Array) -> BlockStack:
    return jax.vmap(block_stack, (None, 0))(decoder, tokens)


@jax.jit
def _rolled(decoder: Decoder, tokens: jax.Array) -> Rollout:
    return jax.lax.map(lambda one: rollout(decoder, one), tokens)


@jax.jit
def _printed(stacks: BlockStack) -> Rollout:
    return jax.lax.map(printed_rollout, stacks)


@jax.jit
def _repaired(stacks: BlockStack) -> Rollout:
    return jax.lax.map(repaired_rollout, stacks)


@jax.jit
def _last(decoder: Decoder, tokens: jax.Array) -> jax.Array:
    return decoder.represent(decoder.enter(tokens))[0][-1]


def _last_is_finite(decoder: Decoder, tokens: jax.Array) -> bool:
    return bool(np.isfinite(np.asarray(_last(decoder, tokens))).all())


def _influence(
    settings: InfluenceSettings, decoder: Decoder, tokens: jax.Array, frozen: bool
) -> Influence:
    if settings.method == "estimated":
        key, probes = draws.root_key(settings.seed), settings.probes
        return jax.device_get(
            estimated_influence(decoder, tokens, key=key, probes=probes, freeze_attention=frozen)
        )
    layers = settings.spectral_layers
    return jax.device_get(
        exact_influence(decoder, tokens, spectral=layers, freeze_attention=frozen)
    )
