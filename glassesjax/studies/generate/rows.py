"""Texts during generation, and their rows: one for each token of prompt and answer."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from glassesjax.cache.generate import Chosen
from glassesjax.cache.policies import Policy
from glassesjax.cache.saved import Saved
from glassesjax.cache.slots import EMPTY
from glassesjax.cache.stream import TextStream
from glassesjax.model.pretrained import LanguageModel
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.studies.generate.records import AnswerToken, PromptToken, Retention, TokenRow

NEVER = -1  # eviction step of a token that was not evicted


class Job(NamedTuple):
    """Inputs of generation under one policy."""

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
      show: Takes the prompt's number and each displayable piece of text.
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
        # (rows, layers, groups, seq): a decision for each layer, or for each key-value head.
        self.evicted_at = np.full((count, config.num_layers, groups, length), NEVER, np.int32)
        if job.saved is None:
            return
        self.tokens = job.saved.info["tokens"]
        number = lambda value: math.nan if value is None else value  # JSON has no NaN
        self.logprobs = [[number(value) for value in row] for row in job.saved.info["logprobs"]]
        # Streams read the earlier text, where a stop string may begin; it is not shown again.
        for stream, tokens, texts in zip(self._streams, self.tokens, self.texts, strict=True):
            texts.extend(self._text(stream, token)[0] for token in tokens)
        # The text so far is shorter: what is to come has not been evicted.
        self._alive, before = job.saved.arrays["alive"], job.saved.arrays["forgotten"]
        self.evicted_at[..., : before.shape[-1]] = before

    @property
    def history(self) -> dict[str, Any]:
        """The texts' history for a saved state, JSON-ready."""
        return {"tokens": self.tokens, "logprobs": self.logprobs}

    def push(self, prompt: int, token: int) -> bool:
        """Takes a new token that is no end token.

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
        """Takes the record of a step."""
        for row in np.flatnonzero(chosen.fresh).tolist():
            token = int(chosen.token[row])
            self.tokens[row].append(token)
            self.logprobs[row].append(float(chosen.logprob[row]))
            # An end token is no text; ``push`` is called for all others.
            if token in self.job.stop_tokens:
                self.texts[row].append("")
        # Of each layer (rows, groups, events) -> the positions of tokens that were evicted.
        for layer, dropped in enumerate(chosen.dropped):
            row, group, event = np.nonzero(dropped.position != EMPTY)
            position = dropped.position[row, group, event]
            self.evicted_at[row, layer, group, position] = dropped.step[row, event]

    def finish(self) -> None:
        """Ends all texts and shows the buffered pieces."""
        for prompt, stream in enumerate(self._streams):
            text, shown = stream.finish()
            self.texts[prompt][-1] += text
            if self._alive[prompt]:  # of the others, everything was shown when they ended
                self._show(prompt, shown)

    def ended(self, prompt: int) -> Literal["length", "token", "text"]:
        """Reason why a text ended.

        Returns:
          ``token`` (the model's end), ``text`` (a stop string) or ``length``.
        """
        if self.tokens[prompt][-1] in self.job.stop_tokens:
            return "token"
        return "text" if self._streams[prompt].stopped else "length"


def written_rows(
    writing: Writing,
    size: int,
    tokens_per_second: float | None,
    overflow: OverflowFields | None = None,
) -> Iterator[TokenRow]:
    """The answers' tokens, prompt by prompt; then those of the prompts, the last of which closes.

    Args:
      writing: The finished texts.
      size: Bytes of the state of one text.
      tokens_per_second: New tokens, all prompts together; None where too few were written.
      overflow: Where the passes overflow first, if they do.
    """
    job = writing.job
    shared: dict[str, Any] = {
        "policy": str(job.policy),
        "position_ids": job.policy.position_ids,
        "slots": job.slots,
        "bytes": size,
        "tokens_per_second": tokens_per_second,
    }
    for prompt in range(len(job.prompts)):
        written, before = writing.tokens[prompt], len(job.prompts[prompt])
        for step, (token, text) in enumerate(zip(written, writing.texts[prompt], strict=True)):
            logprob = writing.logprobs[prompt][step]
            yield AnswerToken(
                **shared,
                **_token(writing, prompt, before + step, token, text),
                step=step,
                logprob=logprob,
                ended=writing.ended(prompt) if step == len(written) - 1 else None,
                finite=math.isfinite(logprob),
                overflow=None if math.isfinite(logprob) else overflow,
            )
    for prompt, tokens in enumerate(job.prompts):
        stream = TextStream(job.model.tokenizer.token_bytes)
        # A character of several tokens is the text of the one that completes it.
        texts = [stream.push(token)[0] for token in tokens]
        texts[-1] += stream.finish()[0]
        for position, (token, text) in enumerate(zip(tokens, texts, strict=True)):
            yield PromptToken(**shared, **_token(writing, prompt, position, token, text))


def _token(writing: Writing, prompt: int, position: int, token: int, text: str) -> dict[str, Any]:
    """Position and text of a token, and the layers that cache it."""
    length = len(writing.job.prompts[prompt])
    # The last token was chosen and never read: no layer could cache it.
    retention = None
    if position < length + len(writing.tokens[prompt]) - 1:
        # (layers, groups): the position after which each decision evicted the token.
        steps = writing.evicted_at[prompt, :, :, position]
        retained, lost = steps == NEVER, steps[steps != NEVER]
        retention = Retention(
            retained_layers=int(retained.any(axis=1).sum()),
            retained_share=float(retained.mean()),
            first_evicted_at=int(lost.min()) if lost.size else None,
            last_evicted_at=int(lost.max()) if lost.size == steps.size else None,
        )
    return {
        "prompt": prompt,
        "position": position,
        "prompt_tokens": length,
        "token": token,
        "token_text": writing.job.model.tokenizer.token_text(token),
        "text": text,
        "retention": retention,
    }
