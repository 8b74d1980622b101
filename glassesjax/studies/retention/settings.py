"""Settings of the retention study."""

import dataclasses

from glassesjax.cache.budget_text import check_budget
from glassesjax.cache.policies import distinct_policies, policy
from glassesjax.errors import BadInput
from glassesjax.model.toy import TOY_POSITIONS, is_toy
from glassesjax.precision.arithmetic import model_plan
from glassesjax.precision.plan import RoundingPlan
from glassesjax.runs.formats import Format, checked_format
from glassesjax.runs.study import Devices, ModelName
from glassesjax.settings import check_each, check_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetentionSettings:
    """Which tokens does each layer of a bounded cache keep, and for how long?"""

    model: ModelName
    text: str | None = None
    """Text: ferry (if absent), a story that comes with this package, kjv, a novel by Jane
    Austen (persuasion, emma), or a UTF-8 file. Not for toy, which reads random digits."""
    max_tokens: int = 1024
    """Maximum tokens of the text, which is truncated there."""
    policies: tuple[str, ...] = ("tova",)
    """Policies: window, h2o, h2o_mean or tova, each with -head or -layer, +SINKS, @RECENT
    and ~DECAY; by default h2o and h2o_mean decide by head, tova by layer."""
    slots: tuple[str, ...] = ("256",)
    """Capacities of each layer: tokens (256), a share of the text (12.5%), or bytes of the whole
    state (2MiB)."""
    format: Format = "f32"
    """A plan by name."""
    positions: str = "none"
    """For toy: the positional encoding."""
    seed: int = 0
    """Seed of the random digits; of the toy and of a run folder, which decoder."""
    devices: Devices = 1

    def __post_init__(self) -> None:
        check_settings(self)
        names = distinct_policies(self.policies)
        object.__setattr__(self, "policies", names)  # an alias is read, and never written
        object.__setattr__(self, "format", checked_format(self.format))
        for budget in self.slots:
            check_budget(budget)
        check_each(
            (
                (self.max_tokens >= 1, "--max-tokens of 1 or more", self.max_tokens),
                (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
                (
                    self.positions in TOY_POSITIONS,
                    f"--positions out of {', '.join(TOY_POSITIONS)}",
                    self.positions,
                ),
            )
        )
        if any(not policy(name).bounded for name in self.policies):
            expected = "Expected policies that evict, which full does not"
            raise BadInput(f"{expected}, got {', '.join(self.policies)}: leave full out.")
        if self.positions != "none" and not is_toy(self.model):
            expected = "Expected --positions with the toy only"
            raise BadInput(f"{expected}, got {self.model}, which has its own: leave them out.")
        if self.text is not None and is_toy(self.model):
            expected = "Expected --text with a model that reads text, got toy"
            raise BadInput(f"{expected}, which reads random digits: leave --text out.")

    @property
    def plan(self) -> RoundingPlan:
        """Rounding plan of the passes."""
        return model_plan(self.format)
