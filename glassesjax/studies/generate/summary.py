"""Summary of a generate run."""

import dataclasses
import itertools

import numpy as np

from glassesjax.errors import BadInput
from glassesjax.runs.run import Run
from glassesjax.runs.verdicts import Passes, passes
from glassesjax.studies.generate.records import AnswerToken, GenerateConstants, TokenRow
from glassesjax.studies.generate.texts import PROMPT_SHOWN, Texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateSummary:
    """The state that all texts of one policy were written from."""

    policy: str
    position_ids: str
    slots: int
    """Tokens that each layer caches between two steps."""
    bytes: int
    """Of the state of one text."""
    tokens_per_second: float | None
    """New tokens of all prompts together; None where too few were written to tell."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSummary:
    """One prompt and its answer under one policy."""

    policy: str
    prompt_tokens: int
    prompt_cut: int
    """Tokens of the prompt that a page leaves out: all but the last ``PROMPT_SHOWN``."""
    answer_tokens: int
    not_finite: int
    """Tokens of the answer whose log-probability is not finite."""
    ended: str | None
    """What ended it: ``length``, ``token`` or ``text``."""
    mean_logprob: float
    """Of the answer's tokens, each under the state that wrote it; NaN where one is not finite."""
    read: int
    """Tokens that were read: all but the last."""
    retained_by_all: int
    """Of these, tokens that all layers cache at the end."""
    retained_by_none: int
    """Of these, tokens that no layer does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptSummary:
    """One prompt under all policies."""

    number: int
    """Which text it is for a reader, from 1."""
    texts: list[TextSummary]
    """In the order of the states."""
    agreement: int | None
    """Tokens of the two answers that agree before the first that differs; None without a second
    text."""
    same: bool | None
    """Whether the two answers are the same; None likewise."""
    parting: list[str]
    """Names of the first tokens that differ, of the policy and of the full state; empty where the
    two are the same, or one of them is the other's beginning."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateSummary:
    """Summary of a generate run."""

    passes: Passes
    """Of the written tokens."""
    states: list[StateSummary]
    """That of the policy, then the full one, where that was written beside it."""
    full_over_own: float | None
    """Bytes of the full state over those of the policy's; None without a full one."""
    prompts: list[PromptSummary]
    answer_tokens: int
    """Tokens that were written from the policy's state, all prompts together, as are the next."""
    read: int
    """Tokens that were read."""
    retained_by_all: int
    """Of these, tokens that all layers cache at the end."""
    retained_by_none: int
    """Of these, tokens that no layer caches at the end."""
    evicted: int
    """Of these, tokens that at least one layer has evicted."""
    last_position: int
    """The last that was read, in the longest text."""
    agreement: int | None
    """Tokens before the first that differs from the full state's; None without a full one."""
    parted: int
    """Texts that differ from those of the full state."""
    first_parting: int | None
    """The fewest tokens before one differs; None where none does."""

    @property
    def own(self) -> StateSummary:
        """The state of the policy."""
        return self.states[0]

    @property
    def full(self) -> StateSummary | None:
        """The state that keeps everything; None where nothing was written from it beside."""
        return self.states[1] if len(self.states) > 1 else None


def summarize(run: Run[TokenRow, GenerateConstants]) -> GenerateSummary:
    """Computes the summary of a run.

    Args:
      run: Of the generate study, with at least one row.

    Raises:
      BadInput: A text is missing, or has no written token, as of a run that was cut off.
    """
    texts = Texts(run.rows)
    # Rows are written a policy at a time; a page compares whole texts only.
    for prompt, policy in itertools.product(range(texts.count), texts.policies):
        if not texts.is_whole(policy, prompt):
            expected = f"Expected what {policy} wrote after prompt {prompt}"
            raise BadInput(f"{expected}, got no row of it: let the run end with the same command.")
    # Fields of the state are the same in all rows of a policy.
    states = [
        StateSummary(
            policy=policy,
            position_ids=row.position_ids,
            slots=row.slots,
            bytes=row.bytes,
            tokens_per_second=row.tokens_per_second,
        )
        for policy in texts.policies
        for row in [texts.first_row(policy)]
    ]
    prompts = [_prompt(texts, prompt) for prompt in range(texts.count)]
    answers = [row for row in run.rows if isinstance(row, AnswerToken)]
    own = [prompt.texts[0] for prompt in prompts]
    # All of these are of the policy's texts, compared with those of the full cache.
    known = [prompt.agreement for prompt in prompts if prompt.agreement is not None]
    parted = [prompt.agreement or 0 for prompt in prompts if prompt.same is False]
    return GenerateSummary(
        passes=passes(
            (row.finite for row in answers),
            rounding=run.constants.rounding,
            overflows=(row.overflow for row in answers),
        ),
        states=states,
        full_over_own=states[1].bytes / states[0].bytes if len(states) > 1 else None,
        prompts=prompts,
        answer_tokens=sum(text.answer_tokens for text in own),
        read=sum(text.read for text in own),
        retained_by_all=sum(text.retained_by_all for text in own),
        retained_by_none=sum(text.retained_by_none for text in own),
        evicted=sum(text.read - text.retained_by_all for text in own),
        last_position=max(text.read for text in own) - 1,
        agreement=sum(known) if known else None,
        parted=len(parted),
        first_parting=min(parted, default=None),
    )


def _prompt(texts: Texts, prompt: int) -> PromptSummary:
    written = [texts(policy, prompt) for policy in texts.policies]
    pairs = zip(texts.policies, written, strict=True)
    agreement = texts.agreement(prompt)
    # From the first token that differs on; empty where one answer is the beginning of the other.
    behind = [text.answer[agreement or 0 :] for text in written]
    same = written[0].tokens == written[1].tokens if len(written) > 1 else None
    summaries = []
    for policy, text in pairs:
        # The last token was chosen and not read: it has no retention.
        shares = [row.retention.retained_share for row in text.rows if row.retention]
        summaries.append(
            TextSummary(
                policy=policy,
                prompt_tokens=len(text.prompt),
                prompt_cut=max(len(text.prompt) - PROMPT_SHOWN, 0),
                answer_tokens=len(text.answer),
                not_finite=sum(not row.finite for row in text.answer),
                ended=text.answer[-1].ended,
                mean_logprob=float(np.mean([row.logprob for row in text.answer])),
                read=len(shares),
                retained_by_all=sum(share == 1 for share in shares),
                retained_by_none=sum(share == 0 for share in shares),
            )
        )
    return PromptSummary(
        number=prompt + 1,
        texts=summaries,
        agreement=agreement,
        same=same,
        parting=[rows[0].token_text for rows in behind] if same is False and all(behind) else [],
    )
