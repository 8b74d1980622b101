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
from glassesjax.model.config import DecoderConfig, Rotary
from glassesjax.model.language import LanguageModel, ModelHeader
from glassesjax.model.opening import open_one
from glassesjax.model.tokenizer import SymbolTokenizer
from glassesjax.runs.places import check_save
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
    _check_spacing(settings, config)
    with jax.enable_x64(settings.format == "f64"):
        saved = _saved(settings, config) if settings.resume else None
    prompts = _prompts(settings, header) if saved is None else _old_prompts(saved)
    before = 0 if saved is None else int(saved.info["step"])
    length = max(map(len, prompts)) + before + settings.max_tokens
    check_context(config, rule, length, hint="--spacing compressed")
    if saved is not None and rule.bounded:
        slots = saved.state.layers[0].position.shape[-1] - 1
    else:
        slots = resolve_slots(
            settings.slots,
            config,
            rule,
            length=length,
            dtype=settings.plan.dtype,
            rows=len(prompts),
            of="--prompt texts",
        )
    model = header.read()
    if saved is not None:
        check_same(Path(str(settings.resume)), saved.info, model.source)
    return Job(model, prompts, rule, slots, before + settings.max_tokens, saved)


def _check_spacing(settings: GenerateSettings, config: DecoderConfig) -> None:
    """Raises an error for a spacing that decoding cannot use, before anything is written."""
    if settings.spacing == "true":
        return
    if not isinstance(config.positions, Rotary):
        got = type(config.positions).__name__
        expected = f"Expected rotary positions for --spacing {settings.spacing}"
        raise BadInput(f"{expected}, got {got}: leave it out.")
    if settings.mode != "exact":
        expected = (
            f"Expected --mode exact for --spacing {settings.spacing}, which changes with each token"
        )
        raise BadInput(f"{expected}, got {settings.mode}: choose one of the two.")


def _prompts(settings: GenerateSettings, model: ModelHeader) -> tuple[tuple[int, ...], ...]:
    tokenizer = model.tokenizer
    if isinstance(tokenizer, SymbolTokenizer):
        if settings.chat:
            raise BadInput("Expected --chat with a model that reads text, got toy: leave it out.")
        return tuple(tokenizer.encode_symbols((BOS, *text)) for text in settings.prompt)
    if settings.chat:
        system = [{"role": "system", "content": settings.system}] if settings.system else []
        chats = ([*system, {"role": "user", "content": text}] for text in settings.prompt)
        prompts = tuple(tokenizer.encode_chat(messages) for messages in chats)
    else:
        prompts = tuple(tokenizer.encode(text) for text in settings.prompt)
    if not all(prompts):
        raise BadInput("Expected prompts of one token or more, got an empty text: leave it out.")
    return prompts


def _same(settings: GenerateSettings) -> dict[str, Any]:
    """Settings that must be the same in all parts of a resumed text, beside the weights."""
    names = ("slots", "temperature", "top_k", "top_p", "stop", "seed", "mode", "positions")
    return {name: getattr(settings, name) for name in names}


def _saved(settings: GenerateSettings, config: DecoderConfig) -> Saved:
    path, same = Path(str(settings.resume)), _same(settings)
    dtype = settings.plan.dtype
    saved = load_state(path, settings.rule, config=config, dtype=dtype, same=same)
    rows = saved.info.get("rows")
    if (
        not isinstance(rows, int)
        or saved.state.seen.shape != (rows,)
        or "token" not in saved.arrays
    ):
        expected = "Expected a state that generate --save has written"
        raise BadInput(f"{expected}, got another one in {path}: choose another.")
    if not saved.arrays["alive"].any():
        expected = "Expected a text that has not ended"
        raise BadInput(f"{expected}, got only finished ones in {path}: choose another state.")
    return saved


def _old_prompts(saved: Saved) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(prompt) for prompt in saved.info["prompts"])


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
    last = {"prompt": len(job.prompts) - 1, "position": len(job.prompts[-1]) - 1}
    there = lambda rule: done({"policy": str(rule), **last})
    beside, model = _beside(settings, job), None
    if settings.save is not None or not there(job.policy):
        model = _in_format(job.model, settings)
        yield str(job.policy), _write(settings, job, model, show)
    if beside is not None and not there(beside.policy):
        model = _in_format(job.model, settings) if model is None else model
        quiet = dataclasses.replace(settings, save=None)
        yield str(beside.policy), _write(quiet, beside, model, lambda prompt, piece: None)


def _in_format(model: LanguageModel, settings: GenerateSettings) -> Unrolled:
    decoder = model.decoder
    with jax.enable_x64(settings.format == "f64"):
        return unroll(decoder.at(settings.plan))


def _beside(settings: GenerateSettings, job: Job) -> Job | None:
    """The same prompts with the full cache, where they fit into the model's context."""
    length = max(map(len, job.prompts)) + job.max_tokens
    context = job.model.decoder.config.max_length
    if settings.beside != "full" or not job.policy.bounded or (context and length > context):
        return None
    return job._replace(policy=POLICIES["full"], slots=length, saved=None)


def _write(settings: GenerateSettings, job: Job, model: Unrolled, show: Show) -> list[TokenRow]:
    writing = Writing(job, settings.stop, show)
    times, batch = [], None
    with jax.enable_x64(settings.format == "f64"):
        for chosen in _steps(settings, job, model, writing):
            writing.take(chosen)
            batch = chosen.batch
            times.append((time.perf_counter(), int(chosen.fresh.sum())))
    writing.finish()
    if settings.save is not None and batch is not None:
        _save(settings, job, batch, writing)
    size = state_bytes(job.model.decoder.config, job.policy, job.slots, settings.plan.dtype)
    return list(written_rows(writing, size, _rate(times)))


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


def _save(settings: GenerateSettings, job: Job, batch: Batch, writing: Writing) -> None:
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
    path, config = Path(str(settings.save)), job.model.decoder.config
    save_state(path, batch.state, job.policy, config=config, info=info, arrays=arrays)


def _rate(times: list[tuple[float, int]]) -> float | None:
    """New tokens a second, all prompts together; the step that compiles is left out."""
    (begin, _), *rest = times[1:] or [(0.0, 0)]
    return sum(count for _, count in rest) / (rest[-1][0] - begin) if rest else None
