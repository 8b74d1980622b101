"""Texts as they are written, and their rows: one for each token of prompt and answer."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from glassesjax.cache.generate import Chosen
from glassesjax.cache.policies import Policy
from glassesjax.cache.saved import Saved
from glassesjax.cache.slots import EMPTY
from glassesjax.cache.stream import TextStream
from glassesjax.files import Value
from glassesjax.model.pretrained import LanguageModel
from glassesjax.runs.provenance import provenance

NEVER = -1  # the step after which a token was forgotten, where it was not


class Job(NamedTuple):
    """What is to be written under one policy."""

    model: LanguageModel
    prompts: tuple[tuple[int, ...], ...]
    policy: Policy
    slots: int
    """Of every layer."""
    max_tokens: int
    """Most new tokens of each prompt, those of the saved state included."""
    saved: Saved | None
    """What to go on from."""

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Tokens that end a text: the model's own ends."""
        return self.model.tokenizer.ends


class Writing:
    """The texts of one policy as they grow, token by token.

    Args:
      job: What is to be written; a saved state brings what was written before.
      stops: Strings that end a text.
      show: Told the prompt's number and each piece of text that may be shown.
    """

    def __init__(self, job: Job, stops: Sequence[str], show: Callable[[int, str], None]) -> None:
        count, config = len(job.prompts), job.model.decoder.config
        token_bytes = job.model.tokenizer.token_bytes
        self.job, self._show = job, show
        self._streams = [TextStream(token_bytes, stops) for _ in range(count)]
        self.tokens: list[list[int]] = [[] for _ in range(count)]
        self.logprobs: list[list[float]] = [[] for _ in range(count)]
        self.texts: list[list[str]] = [[] for _ in range(count)]
        groups = config.kv_heads if job.policy.head_wise else 1
        length = max(map(len, job.prompts)) + job.max_tokens
        self._alive = np.ones(count, bool)
        self.forgotten = np.full((count, config.num_layers, groups, length), NEVER, np.int32)
        if job.saved is not None:
            self._take_up(job.saved)

    def _take_up(self, saved: Saved) -> None:
        """What was written before, without showing it."""
        self.tokens = saved.info["tokens"]
        number = lambda value: math.nan if value is None else value  # JSON has no NaN
        self.logprobs = [[number(value) for value in row] for row in saved.info["logprobs"]]
        for stream, tokens, texts in zip(self._streams, self.tokens, self.texts, strict=True):
            texts.extend(self._text(stream, token)[0] for token in tokens)
        self._alive, before = saved.arrays["alive"], saved.arrays["forgotten"]
        self.forgotten[..., : before.shape[-1]] = before

    @property
    def history(self) -> dict[str, Any]:
        """What a saved state must know of the texts, JSON-ready."""
        return {"tokens": self.tokens, "logprobs": self.logprobs}

    def push(self, prompt: int, token: int) -> bool:
        """Takes a new token that is no end token.

        Args:
          prompt: Which text it continues.
          token: Its number.

        Returns:
          Whether a stop string ends the text.
        """
        text, shown = self._text(self._streams[prompt], token)
        self.texts[prompt].append(text)
        self._show(prompt, shown)
        return self._streams[prompt].stopped

    def _text(self, stream: TextStream, token: int) -> tuple[str, str]:
        return ("", "") if token in self.job.stop_tokens else stream.push(token)

    def take(self, chosen: Chosen) -> None:
        """Takes the record of a step.

        Args:
          chosen: What the step gave.
        """
        for row in np.flatnonzero(chosen.fresh).tolist():
            token = int(chosen.token[row])
            self.tokens[row].append(token)
            self.logprobs[row].append(float(chosen.logprob[row]))
            if token in self.job.stop_tokens:
                self.texts[row].append("")
        for layer, dropped in enumerate(chosen.dropped):
            row, group, event = np.nonzero(dropped.position != EMPTY)
            position = dropped.position[row, group, event]
            self.forgotten[row, layer, group, position] = dropped.step[row, event]

    def finish(self) -> None:
        """Says that no token follows: what was held back is shown."""
        for prompt, stream in enumerate(self._streams):
            text, shown = stream.finish()
            self.texts[prompt][-1] += text
            if self._alive[prompt]:  # of the others, everything was shown when they ended
                self._show(prompt, shown)

    def ended(self, prompt: int) -> str:
        """What ended a text.

        Args:
          prompt: Which text.

        Returns:
          ``token`` (the model's end), ``text`` (a stop string) or ``length``.
        """
        if self.tokens[prompt][-1] in self.job.stop_tokens:
            return "token"
        return "text" if self._streams[prompt].stopped else "length"


def written_rows(
    shared: Mapping[str, Value], writing: Writing, tokens_per_second: float | None
) -> Iterator[dict[str, Value]]:
    """The answers' tokens, prompt by prompt; then those of the prompts, the last of which closes.

    Args:
      shared: Fields of the settings, the same in all rows.
      writing: The finished texts.
      tokens_per_second: New tokens, all prompts together.

    Yields:
      Flat rows.
    """
    job = writing.job
    shared = {**_shared(job), **shared, "tokens_per_second": tokens_per_second}
    for prompt in range(len(job.prompts)):
        yield from ({**shared, **row} for row in _answer(writing, prompt))
    for prompt, tokens in enumerate(job.prompts):
        stream = TextStream(job.model.tokenizer.token_bytes)
        texts = [stream.push(token)[0] for token in tokens]
        texts[-1] += stream.finish()[0]
        for position, (token, text) in enumerate(zip(tokens, texts, strict=True)):
            said = dict.fromkeys(("step", "logprob", "ended", "finite"))
            said["part"] = "prompt"
            row = _token(writing, prompt, position, token, text)
            yield {**shared, **row, **said}


def _answer(writing: Writing, prompt: int) -> Iterator[dict[str, Value]]:
    tokens, before = writing.tokens[prompt], len(writing.job.prompts[prompt])
    for step, (token, text) in enumerate(zip(tokens, writing.texts[prompt], strict=True)):
        ended = writing.ended(prompt) if step == len(tokens) - 1 else None
        logprob = writing.logprobs[prompt][step]
        said = {"part": "answer", "step": step, "logprob": logprob, "ended": ended}
        said["finite"] = math.isfinite(logprob)
        yield {**_token(writing, prompt, before + step, token, text), **said}


def _token(writing: Writing, prompt: int, position: int, token: int, text: str) -> dict[str, Value]:
    """Where a token stands, what it says, and who still holds it."""
    read = position < len(writing.job.prompts[prompt]) + len(writing.tokens[prompt]) - 1
    gone = writing.forgotten[prompt, :, :, position]  # layers groups
    held, lost = gone == NEVER, gone[gone != NEVER]
    return {
        "prompt": prompt,
        "position": position,
        "prompt_tokens": len(writing.job.prompts[prompt]),
        "token": token,
        "token_text": writing.job.model.tokenizer.token_text(token),
        "text": text,
        # The last token was chosen and never read: no layer could hold it.
        "held": int(held.any(axis=1).sum()) if read else None,
        "held_share": float(held.mean()) if read else None,
        "first_forgotten": int(lost.min()) if lost.size else None,
        "last_forgotten": int(lost.max()) if lost.size == gone.size else None,
    }


def _shared(job: Job) -> dict[str, Value]:
    config = job.model.decoder.config
    return {
        "study": "generate",
        "model": job.model.name,
        **provenance(),
        **job.model.columns,
        "policy": str(job.policy),
        "spacing": job.policy.spacing,
        "slots": job.slots,
        "layers": config.num_layers,
        "width": config.model_dim,
        "rounding": "none",
    }
