"""The influence study: influence of each token on the last representation, and its bounds.

For each layer and token: the derivative of the last representation in that token's residual
stream, measured with true attention and with constant attention weights, with the rollout, the
printed bound of Theorem 5.1 (which presumes constant weights) and its repair (which does not).
Several passages are measured, since results on one text may be specific to it.
"""

import functools
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
from glassesjax.model.narrow import under
from glassesjax.model.opening import (
    check_unread,
    open_one,
    reading_limit,
    whole_prompt,
)
from glassesjax.model.prompts import numbered_prompt
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.precision import F64
from glassesjax.precision.arithmetic import rounds_passes
from glassesjax.runs.model_fields import overflow_fields, with_overflow
from glassesjax.studies.influence.records import InfluenceRow
from glassesjax.studies.influence.rows import Compared, Passage, Subject, influence_rows, log_bound
from glassesjax.studies.influence.settings import InfluenceSettings
from glassesjax.tasks.sequences import BOS, POINTER, run_family
from glassesjax.tasks.text import DEFAULT_TEXT, read_text
from glassesjax.theory.blocks import repaired_rollout
from glassesjax.trace.influence import estimated_influence, exact_influence
from glassesjax.trace.rollout import (
    BlockStack,
    Rollout,
    block_stack,
    check_bounded,
    check_past,
    printed_rollout,
    rollout,
)
from glassesjax.trace.sizes import check_derivatives, check_probes, note_exact

# Where a passage begins: behind a paragraph, else a line, else a word, and at most so far on.
BREAKS, REACH = (r"\n\s*\n\s*", r"\n\s*", r"\s+"), 2000


def open_subject(settings: InfluenceSettings) -> Subject:
    """The model and its passages.

    Returns:
      Both, each passage of a text cut to ``max_tokens``.

    Raises:
      BadInput: The model or a text cannot be opened, a passage is empty or longer than the model's
        context, a layer is not there, or the model has no rollout to its last token.
    """
    header = open_one(settings, settings.positions)
    config, itemsize = header.config, np.dtype(settings.plan.dtype).itemsize
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
    if not rounds_passes(settings.plan):
        check_bounded(config)
    spectral = len(settings.spectral_layers)
    check_derivatives(config, longest, itemsize, spectral=spectral)
    if settings.method == "exact":
        lengths = [len(passage.tokens) for passage in passages] * len(settings.attention)
        note_exact(config, lengths, settings.probes, itemsize, spectral=spectral)
    return Subject(header.read(), passages)


def _passages(settings: InfluenceSettings, model: ModelHeader) -> Iterator[Passage]:
    """The prompt, drawn digits, or passages spread evenly over each text."""
    limit, tokenizer = reading_limit(settings.max_tokens, model.config), model.tokenizer
    if settings.prompt_tokens:
        tokens = numbered_prompt(settings.prompt_tokens, model.config.vocab_size)
        yield Passage("prompt", 0, whole_prompt(tokens, settings.max_tokens, model.config))
        return
    if isinstance(tokenizer, SymbolTokenizer):
        check_unread(settings.text, settings.model)
        if settings.prompt:
            tokens = tokenizer.encode_symbols((BOS, *settings.prompt))
            yield Passage("prompt", 0, whole_prompt(tokens, settings.max_tokens, model.config))
            return
        # Before the digits are drawn: they may be more than the memory has room for.
        what = f"{settings.passages} --passages of {limit} tokens"
        check_memory(POINTER * limit * settings.passages, what, "use fewer")
        digits = run_family("doubled_digits").pair(limit * settings.passages, settings.seed)[0]
        for at in range(0, len(digits), limit):
            symbols = (BOS, *digits[at : at + limit])  # BOS takes the place of the last digit
            yield Passage("digits", at, tokenizer.encode_symbols(symbols)[:limit])
        return

    def passage(name: str, text: str, start: int = 0, stop: int | None = None) -> Passage:
        # A stream, so that a long text is tokenized only up to the limit.
        tokens = itertools.islice(tokenizer.stream(text[start:stop]), limit)
        return Passage(name, start, tuple(tokens))

    if settings.prompt:
        tokens = tokenizer.stream(settings.prompt)
        yield Passage("prompt", 0, whole_prompt(tokens, settings.max_tokens, model.config))
        return
    count = settings.passages
    for name in settings.text or (DEFAULT_TEXT,):
        text, spread = read_text(name), []
        if 1 < count <= len(text):  # a token has a letter or more
            # One at the beginning of each of ``count + 1`` equal parts but the first.
            edges = [len(text) * part // (count + 1) for part in range(1, count + 2)]
            for start, stop in itertools.pairwise(edges):
                near = text[start : min(stop, start + REACH)]
                matches = (re.search(pattern, near) for pattern in BREAKS)
                begin = next((start + match.end() for match in matches if match), start)
                spread.append(passage(name, text, begin, stop))
        # All of one length, or the start of the text alone.
        whole = spread and all(len(each.tokens) == limit for each in spread)
        yield from spread if whole else [passage(name, text)]


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
      subject: Weights as they were read and the passages.
      done: Whether the row with these key fields exists already; whole kinds are skipped.

    Yields:
      What was done and its rows. First the bounds, which have none of their own (of a pass that the
      plan rounds, the rollout alone), then for each passage each kind of attention with one row for
      each layer and token.
    """
    layers, spectral = subject.model.decoder.config.num_layers, settings.spectral_layers

    def wanted(passage: Passage, kind: str) -> bool:
        # The last token after the last layer closes a kind.
        last = {"layer": layers, "position": len(passage.tokens) - 1, "attention": kind}
        return not done({"text": passage.text, "offset": passage.offset, **last})

    left = {p: [kind for kind in settings.attention if wanted(p, kind)] for p in subject.passages}
    left = {passage: kinds for passage, kinds in left.items() if kinds}
    if not left:
        return
    # 64-bit types around each computation alone: the caller's setting is back at each yield.
    plan = settings.plan
    wide = plan.carrier == F64
    with jax.enable_x64(wide):
        decoder = under(subject.model.decoder, plan)
        compared = _compared(decoder, tuple(left))
        derive = functools.partial(exact_influence, spectral=spectral)
        if settings.method == "estimated":
            # One key, so that all kinds and passages have the same probes.
            key = draws.root_key(settings.seed)
            derive = functools.partial(estimated_influence, key=key, probes=settings.probes)
    # A step of its own: it takes as long as a kind of attention, or longer.
    kinds = [kind for kind in settings.attention if any(kind in some for some in left.values())]
    what = "rollout" if rounds_passes(plan) else "bounds"
    yield f"{what} for {' and '.join(kinds)} attention", []
    for passage, kinds in left.items():
        tokens = jnp.asarray(passage.tokens)
        with jax.enable_x64(wide):
            finite = bool(np.isfinite(np.asarray(_last(decoder, tokens))).all())
        for kind in kinds:
            with jax.enable_x64(wide):
                influence = derive(decoder, tokens, freeze_attention=kind == "frozen")
                influence = jax.device_get(influence)
            rows = influence_rows(
                subject.model,
                passage,
                influence,
                compared[passage],
                spectral,
                attention=kind,
                last_finite=finite,
            )
            place = f", {passage.text} from {passage.offset}" if len(subject.passages) > 1 else ""
            find = functools.partial(overflow_fields, subject.model.decoder, plan, passage.tokens)
            with jax.enable_x64(wide):
                rows = with_overflow(rows, lambda row: not row.finite, find)
            yield f"{kind} attention{place}", rows


def _compared(decoder: Decoder, passages: Sequence[Passage]) -> dict[Passage, Compared]:
    """Those of passages of one length together: norms of weights, most of the work, come once."""
    by_passage: dict[Passage, Compared] = {}
    for length in dict.fromkeys(len(passage.tokens) for passage in passages):
        alike = [passage for passage in passages if len(passage.tokens) == length]
        tokens = jnp.asarray([passage.tokens for passage in alike])  # (passages, seq)
        every = _rolled(decoder, tokens)
        for index, passage in enumerate(alike):
            # (passages, ...) -> (...)
            by_passage[passage] = jax.tree.map(lambda x, i=index: x[i], every)
    return by_passage


@jax.jit
def _stacks(decoder: Decoder, tokens: jax.Array) -> BlockStack:
    # (passages, seq) -> (passages, ...); weights have no axis of passages.
    return jax.vmap(block_stack, (None, 0))(decoder, tokens)


def _rolled(decoder: Decoder, tokens: jax.Array) -> Compared:
    """The same with an axis of passages in front."""
    # Four programs, one after the other: in one, whose loops may run at once, a processor of
    # two cores has hung.
    plain, logs = jax.device_get(_each(rollout, (decoder,), tokens)), [None, None]
    if not rounds_passes(decoder.plan):
        stacks = _stacks(decoder, tokens)
        bounds = [_each(make, (), stacks) for make in (printed_rollout, repaired_rollout)]
        logs = [log_bound(each) for each in jax.device_get(bounds)]
    wide = np.asarray(plain.profile, np.float64), np.asarray(plain.shares, np.float64)
    return Compared(*wide, *logs)


@functools.partial(jax.jit, static_argnames="rolled")
def _each(
    rolled: Callable[..., Rollout], shared: tuple[Decoder, ...], passages: jax.Array | BlockStack
) -> Rollout:
    # (passages, ...) -> (passages, ...), one passage after the other.
    return jax.lax.map(lambda passage: rolled(*shared, passage), passages)


@jax.jit
def _last(decoder: Decoder, tokens: jax.Array) -> jax.Array:
    return decoder.represent(decoder.enter(tokens))[0][-1]  # (seq, model_dim) -> (model_dim,)
