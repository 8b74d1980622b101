"""The generate study: text generated with a bounded cache, compared with the full cache's text.

Each prompt is continued under the policy, and once more with the full cache; a row for each token
has the number of layers that still cache it at the end.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax.cache.advance import Unrolled, unroll
from glassesjax.cache.budget import check_context, resolve_slots, state_bytes
from glassesjax.cache.choosing import row_keys
from glassesjax.cache.generate import Batch, Chosen, Generator, generate
from glassesjax.cache.policies import POLICIES
from glassesjax.cache.saved import Saved, check_same, grown, load_state, save_state
from glassesjax.errors import BadInput
from glassesjax.files import Row
from glassesjax.model.config import Rotary
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.narrow import under
from glassesjax.model.opening import open_one
from glassesjax.model.prompts import numbered_prompt
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.precision import F64, Packed
from glassesjax.precision.arithmetic import BACKEND
from glassesjax.runs.model_fields import overflow_fields
from glassesjax.runs.output_paths import check_save
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.studies.generate.records import TokenRow
from glassesjax.studies.generate.rows import Job, Writing, written_rows
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.tasks.sequences import BOS

Show = Callable[[int, str], None]


def open_job(settings: GenerateSettings) -> Job:
    """The model, its prompts, and the state to go on from.

    Returns:
      All that ``measure`` needs.

    Raises:
      BadInput: The model or the state cannot be opened, a prompt is empty, prompt and answer are
        longer than the model's context, or the policy cannot work with so few slots.
    """
    if settings.save is not None:
        check_save(settings.save, "--save")
    header = open_one(settings, settings.positions)
    config, rule = header.config, settings.rule
    # What decoding cannot use is refused before anything is written.
    changed = f"--position-ids {settings.position_ids}"
    if settings.position_ids != "original" and not isinstance(config.positions, Rotary):
        got = type(config.positions).__name__
        raise BadInput(f"Expected rotary positions for {changed}, got {got}: leave it out.")
    if settings.position_ids != "original" and settings.mode != "exact":
        expected = f"Expected --mode exact for {changed}, which change with each token"
        raise BadInput(f"{expected}, got {settings.mode}: choose one of the two.")
    prompts, saved = _start(settings, header)
    before = 0 if saved is None else int(saved.info["step"])
    length = max(map(len, prompts)) + before + settings.max_tokens
    check_context(config, rule, length, hint="--position-ids compressed")
    if saved is not None and rule.bounded:
        # A share as a budget was one of the shorter text; the arrays have what it came to, and one
        # slot more.
        slots = saved.state.layers[0].position.shape[-1] - 1
    else:
        slots = resolve_slots(
            settings.slots,
            config,
            rule,
            length=length,
            dtype=settings.plan,
            rows=len(prompts),
            of="--prompt texts",
        )
    model = header.read()
    # Which weights these are is known once they are read: a file is known by its digest.
    if saved is not None:
        check_same(Path(str(settings.resume)), saved.info, model.source)
    return Job(model, prompts, rule, slots, before + settings.max_tokens, saved)


def _same(settings: GenerateSettings) -> dict[str, Any]:
    """Settings that must be the same in all parts of a resumed text, beside the weights."""
    # Not ``max_tokens``, which is of each part; policy and weights are checked with the state.
    names = ("slots", "temperature", "top_k", "top_p", "stop", "seed", "mode", "positions")
    # Keys and values of the backend's own formats differ in type; older states name no format.
    own = settings.format in BACKEND
    return {name: getattr(settings, name) for name in names} | {
        "format": None if own else settings.format
    }


def _start(
    settings: GenerateSettings, header: ModelHeader
) -> tuple[tuple[tuple[int, ...], ...], Saved | None]:
    """The prompts, and the state to go on from, if any."""
    tokenizer = header.tokenizer
    if settings.resume is not None:
        with jax.enable_x64(settings.plan.carrier == F64):
            saved = load_state(
                settings.resume,
                settings.rule,
                config=header.config,
                dtype=settings.plan,
                same=_same(settings),
            )
        rows, got = saved.info.get("rows"), f"in {settings.resume}: choose another"
        whole = isinstance(rows, int) and saved.state.seen.shape == (rows,)
        if not whole or "token" not in saved.arrays:
            expected = "Expected a state that generate --save has written"
            raise BadInput(f"{expected}, got another one {got}.")
        if not saved.arrays["alive"].any():
            expected = "Expected a text that has not ended"
            raise BadInput(f"{expected}, got only finished ones {got} state.")
        # The prompts of the text's first part: positions and rows go on.
        return tuple(tuple(prompt) for prompt in saved.info["prompts"]), saved
    if settings.prompt_tokens:
        return (numbered_prompt(settings.prompt_tokens, header.config.vocab_size),), None
    if isinstance(tokenizer, SymbolTokenizer):
        if settings.chat:
            raise BadInput("Expected --chat with a model that reads text, got toy: leave it out.")
        return tuple(tokenizer.encode_symbols((BOS, *text)) for text in settings.prompt), None
    if settings.chat:
        system = [{"role": "system", "content": settings.system}] if settings.system else []
        chats = ([*system, {"role": "user", "content": text}] for text in settings.prompt)
        prompts = tuple(tokenizer.encode_chat(messages) for messages in chats)
    else:
        prompts = tuple(tokenizer.encode(text) for text in settings.prompt)
    if not all(prompts):
        raise BadInput("Expected prompts of one token or more, got an empty text: leave it out.")
    return prompts, None


def measure(
    settings: GenerateSettings,
    job: Job,
    done: Callable[[Row], bool] = lambda row: False,
    show: Show = lambda prompt, piece: None,
) -> Iterator[tuple[str, list[TokenRow]]]:
    """Generates texts under the policy, then with the full cache.

    Args:
      settings: Settings of the study.
      job: The model and its prompts.
      done: Whether the row with these key fields exists already; existing texts are not generated
        again, unless their state is to be saved.
      show: Takes the prompt's number and each displayable piece of text under the policy.

    Yields:
      The name of each finished policy, and its rows.
    """
    # The last row that is written of a policy: where it is on disk, so are the others.
    last = {"prompt": len(job.prompts) - 1, "position": len(job.prompts[-1]) - 1}
    there = lambda rule: done({"policy": str(rule), **last})
    model = None
    if settings.save is not None or not there(job.policy):
        model = _in_format(job.model, settings)
        yield str(job.policy), _write(settings, job, model, show)
    if settings.baseline != "full" or not job.policy.bounded:
        return
    # The full cache has a slot for every token, which may be more than the model's context.
    length = max(map(len, job.prompts)) + job.max_tokens
    context = job.model.decoder.config.max_length
    full = job._replace(policy=POLICIES["full"], slots=length, saved=None)
    if (context and length > context) or there(full.policy):
        return
    model = _in_format(job.model, settings) if model is None else model
    quiet = dataclasses.replace(settings, save=None)  # the state to save is the policy's
    yield str(full.policy), _write(quiet, full, model, lambda prompt, piece: None)


def _in_format(model: LanguageModel, settings: GenerateSettings) -> Unrolled:
    decoder = model.decoder
    with jax.enable_x64(settings.plan.carrier == F64):
        return unroll(under(decoder, settings.plan))


def _write(settings: GenerateSettings, job: Job, model: Unrolled, show: Show) -> list[TokenRow]:
    writing = Writing(job, settings.stop, show)
    times, batch = [], None
    with jax.enable_x64(settings.plan.carrier == F64):
        for chosen in _steps(settings, job, model, writing):
            writing.take(chosen)
            batch = chosen.batch  # the next step donates its buffers; the last one is saved
            times.append((time.perf_counter(), int(chosen.fresh.sum())))
    writing.finish()
    config = job.model.decoder.config
    if settings.save is not None and batch is not None:
        info = {
            **job.model.source,
            **_same(settings),
            "rows": len(job.prompts),
            "prompts": job.prompts,
            "step": batch.step,
            **writing.history,
        }
        arrays = {
            "token": np.asarray(batch.token),
            "alive": batch.alive,
            "forgotten": writing.evicted_at,
        }
        save_state(
            settings.save,
            batch.state,
            job.policy,
            config=config,
            plan=settings.plan,
            info=info,
            arrays=arrays,
        )
    # New tokens a second, all prompts together. The first step is the prompts', the second compiles
    # the step of decoding: its end is where the clock starts.
    (begin, _), *rest = times[1:] or [(0.0, 0)]
    rate = sum(count for _, count in rest) / (rest[-1][0] - begin) if rest else None
    # A state that was saved before slots were packed goes on as it is.
    packed = job.saved is None or isinstance(job.saved.state.layers[0].key, Packed)
    how = settings.plan if packed else settings.plan.dtype
    size = state_bytes(config, job.policy, job.slots, how)
    return list(written_rows(writing, size, rate, _overflow(settings, job, writing)))


def _overflow(settings: GenerateSettings, job: Job, writing: Writing) -> OverflowFields | None:
    """Where the pass over the first text that is not finite overflows first."""
    for prompt, written, logprobs in zip(
        job.prompts, writing.tokens, writing.logprobs, strict=True
    ):
        if not np.isfinite(logprobs).all():
            with jax.enable_x64(settings.plan.carrier == F64):
                return overflow_fields(job.model.decoder, settings.plan, (*prompt, *written))
    return None


def _steps(
    settings: GenerateSettings, job: Job, model: Unrolled, writing: Writing
) -> Iterator[Chosen]:
    if job.saved is None:
        return generate(
            model,
            job.prompts,
            job.policy,
            slots=job.slots,
            max_tokens=job.max_tokens,
            sampling=settings.sampling,
            seed=settings.seed,
            mode=settings.mode,
            stop=job.stop_tokens,
            ended=writing.push,
        )
    state, arrays, step = job.saved.state, job.saved.arrays, int(job.saved.info["step"])
    # A full cache was saved with room for the text so far.
    state = state if job.policy.bounded else grown(state, job.slots)
    keys = row_keys(settings.seed, np.arange(len(arrays["alive"]), dtype=np.int32))
    batch = Batch(state, jnp.asarray(arrays["token"]), arrays["alive"], step, keys)
    generator = Generator(
        model=model,
        policy=job.policy,
        sampling=settings.sampling,
        stop=job.stop_tokens,
        ended=writing.push,
    )
    return generator.steps(batch, job.max_tokens - step)
