"""Settings of the longform study."""

import dataclasses

from glassesjax.cache import (
    distinct_policies,
    policy,
)
from glassesjax.cache.budget_text import check_budget
from glassesjax.cache.policies import PrefillMode
from glassesjax.cache.sampling import Sampling
from glassesjax.errors import BadInput
from glassesjax.model.toy import TOY_POSITIONS, is_toy
from glassesjax.precision.arithmetic import model_plan
from glassesjax.precision.plan import RoundingPlan
from glassesjax.runs.formats import Format, checked_format
from glassesjax.runs.study import Devices, ModelName
from glassesjax.settings import check_each, check_one, check_settings

TOP_P = 0.95  # default where tokens are sampled


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongformSettings:
    """What becomes of a long text if the state that it is written from is bounded?"""

    model: ModelName
    prompt: str = ""
    """The text to continue; the beginning of a story (for toy, of digits) if empty."""
    prompt_tokens: tuple[int, ...] = ()
    """The prompt as token numbers, to which nothing is added; in place of a text."""
    chat: bool = False
    """Whether the prompt is a user's message, put into the model's own chat template."""
    policies: tuple[str, ...] = ("window", "window+4", "h2o", "tova")
    """Policies: NAME[-head|-layer][+SINKS][@RECENT][~DECAY], by default h2o by head and tova
    by layer. Texts with the full cache are always added."""
    slots: tuple[str, ...] = ("64", "256")
    """Sizes of the state: tokens (256), a share of prompt and text (12.5%), or bytes (2MiB)."""
    samples: int = 4
    """Texts of each policy and size; those of one number are drawn alike."""
    max_tokens: int = 512
    """Maximum new tokens of a text."""
    temperature: float = 0.8
    """Sampling temperature; 0 is greedy decoding."""
    top_k: int | None = None
    """Number of most likely tokens to sample from; all if absent."""
    top_p: float | None = None
    """Nucleus sampling from the smallest set of most likely tokens with this probability; if absent
    0.95, and 1 at temperature 0."""
    mode: PrefillMode = "exact"
    """Eviction in prefill: per token (exact), one-shot after the prompt (one_shot), or after every
    256 tokens (chunked)."""
    format: Format = "f32"
    """A plan by name."""
    positions: str = "none"
    """For toy: the positional encoding."""
    seed: int = 0
    """Seed of what is drawn; of the toy and of a run folder, which decoder."""
    devices: Devices = 1

    def __post_init__(self) -> None:
        check_settings(self, repeatable=("prompt_tokens",))
        names = distinct_policies(self.policies)
        object.__setattr__(self, "policies", names)  # an alias is read, and never written
        object.__setattr__(self, "format", checked_format(self.format))
        for budget in self.slots:
            check_budget(budget)
        check_each(
            (
                (self.samples >= 1, "--samples of 1 or more", self.samples),
                (self.max_tokens >= 1, "--max-tokens of 1 or more", self.max_tokens),
                (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
                (
                    self.positions in TOY_POSITIONS,
                    f"--positions out of {', '.join(TOY_POSITIONS)}",
                    self.positions,
                ),
            )
        )
        _ = self.sampling  # refuses what it cannot use
        check_one({"--prompt": self.prompt, "--prompt-tokens": self.prompt_tokens})
        check_one({"--chat": self.chat, "--prompt-tokens": self.prompt_tokens})
        if any(not policy(name).bounded for name in self.policies):
            expected = "Expected policies that evict, since full is always written too"
            raise BadInput(f"{expected}, got {', '.join(self.policies)}: leave full out.")
        if self.positions != "none" and not is_toy(self.model):
            expected = "Expected --positions with the toy only"
            raise BadInput(f"{expected}, got {self.model}, which has its own: leave them out.")
        if not self.sampling.draws and (self.top_k is not None or self.sampling.top_p < 1):
            raise BadInput(
                "Expected --temperature over 0 with --top-k or --top-p, got 0: see --help."
            )
        # Greedy texts of one prompt are all the same.
        if self.samples > 1 and not self.sampling.draws:
            expected = "Expected one of --samples at --temperature 0, where nothing is drawn"
            raise BadInput(f"{expected}, got {self.samples}: leave them out.")

    @property
    def sampling(self) -> Sampling:
        """Sampling settings; without top-k and top-p at temperature 0."""
        # At temperature 0 a default of 0.95 would be refused as a setting without effect.
        narrowed = TOP_P if self.temperature else 1.0
        top_p = narrowed if self.top_p is None else self.top_p
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=top_p)

    @property
    def steps(self) -> int:
        """Number of steps of a run: the full state, and each policy with each size."""
        return 1 + len(self.policies) * len(self.slots)

    @property
    def plan(self) -> RoundingPlan:
        """Rounding plan of the passes."""
        return model_plan(self.format)
