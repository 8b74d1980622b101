"""Settings of the generate study, each checked before anything is opened."""

import dataclasses
from pathlib import Path
from typing import Literal

from glassesjax.cache.budget_text import check_budget
from glassesjax.cache.policies import Policy, PositionIds, PrefillMode, policy
from glassesjax.cache.sampling import Sampling
from glassesjax.errors import BadInput
from glassesjax.model.toy import TOY_POSITIONS, is_toy
from glassesjax.precision.arithmetic import model_plan
from glassesjax.precision.plan import RoundingPlan
from glassesjax.runs.formats import Format, checked_format
from glassesjax.runs.study import Devices, ModelName
from glassesjax.settings import check_each, check_one, check_settings

FIX_NOTHING = ("save", "resume")  # paths: of the state that is resumed the content counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """What does the model write while its state is bounded?"""

    model: ModelName
    prompt: tuple[str, ...] = ()
    """Texts to continue, all at once; for toy, digits and commas."""
    prompt_tokens: tuple[int, ...] = ()
    """One prompt as token numbers, to which nothing is added; in place of texts."""
    policy: str = "tova"
    """Policy: NAME[-head|-layer][+SINKS][@RECENT][~DECAY], NAME out of full,
    window, h2o, h2o_mean, tova; by default h2o and h2o_mean decide by head, tova by
    layer."""
    slots: str = "256"
    """Capacity of each layer: tokens (256), a share of prompt and answer (25%), or bytes of the
    whole state (2MiB)."""
    max_tokens: int = 64
    """Maximum new tokens of each prompt."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy decoding."""
    top_k: int | None = None
    """Number of most likely tokens to sample from; all if absent."""
    top_p: float = 1.0
    """Nucleus sampling from the smallest set of most likely tokens with this probability."""
    stop: tuple[str, ...] = ()
    """Strings that end a text, and are not shown; the model's end tokens (of a text,
    a turn, a message) end it, too."""
    chat: bool = False
    """Whether a prompt is a user's message, put into the model's own chat template."""
    system: str = ""
    """The system's message before the user's, with --chat; the template's own if empty."""
    mode: PrefillMode = "exact"
    """Eviction in prefill: per token (exact), one-shot after the prompt (one_shot), or after every
    256 tokens (chunked)."""
    position_ids: PositionIds = "original"
    """Position ids of cached tokens with rotary positions: original, gaps over ten
    compressed, or consecutive."""
    format: Format = "f32"
    """A plan by name."""
    positions: str = "none"
    """For toy: the positional encoding."""
    baseline: Literal["full", "none"] = "full"
    """What to compare with: the same prompts with the full cache, or none."""
    seed: int = 0
    """Seed of what is drawn; of the toy and of a run folder, which decoder."""
    devices: Devices = 1
    save: Path | None = None
    """A file for the state as it is after the last token."""
    resume: Path | None = None
    """A file of --save to go on from, in place of prompts, with the same settings."""

    def __post_init__(self) -> None:
        check_settings(self, repeatable=("prompt", "prompt_tokens"))  # each is drawn for itself
        name = str(policy(self.policy))
        object.__setattr__(self, "policy", name)  # an alias is read, and never written
        object.__setattr__(self, "format", checked_format(self.format))
        check_each(
            (
                (self.max_tokens >= 1, "--max-tokens of 1 or more", self.max_tokens),
                (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
                (all(self.stop), "--stop of one character or more", "an empty one"),
                (
                    self.positions in TOY_POSITIONS,
                    f"--positions out of {', '.join(TOY_POSITIONS)}",
                    self.positions,
                ),
            )
        )
        check_one(
            {
                "--prompt": self.prompt,
                "--prompt-tokens": self.prompt_tokens,
                "--resume": self.resume,
            }
        )
        _ = self.sampling, self.rule  # both refuse what they cannot use
        check_budget(self.slots)
        # Settings that would have no effect are refused, not passed over.
        narrow = self.top_k is not None or self.top_p < 1
        for unused, expected in (
            (
                len(set(self.prompt)) < len(self.prompt) and not self.sampling.draws,
                "--temperature over 0 with a --prompt that is given twice",
            ),
            (narrow and not self.sampling.draws, "--temperature over 0 with --top-k or --top-p"),
            (self.system and not self.chat, "--chat with --system"),
            (
                self.prompt_tokens and (self.chat or self.system),
                "--prompt-tokens without --chat: they are the prompt as it is",
            ),
            (
                not (self.prompt or self.prompt_tokens or self.resume),
                "--prompt, --prompt-tokens, or a state to --resume",
            ),
            (self.resume and (self.chat or self.system), "--resume without --chat: it goes on"),
            (self.positions != "none" and not is_toy(self.model), "--positions with the toy only"),
        ):
            if unused:
                raise BadInput(f"Expected {expected}: see --help.")

    @property
    def sampling(self) -> Sampling:
        """Sampling settings."""
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    @property
    def rule(self) -> Policy:
        """The policy with its position ids."""
        return dataclasses.replace(policy(self.policy), position_ids=self.position_ids)

    @property
    def plan(self) -> RoundingPlan:
        """Rounding plan of the passes."""
        return model_plan(self.format)
