"""Settings of the perplexity study."""

import dataclasses
from typing import Literal

from glassesjax.cache.budget_text import check_budget
from glassesjax.cache.policies import SHORT, PositionIds, distinct_policies
from glassesjax.errors import BadInput
from glassesjax.model.toy import TOY_POSITIONS, is_toy
from glassesjax.precision.arithmetic import model_plan
from glassesjax.precision.plan import RoundingPlan
from glassesjax.runs.formats import Formats, checked_formats
from glassesjax.runs.study import Devices, ModelName
from glassesjax.settings import check_each, check_settings
from glassesjax.studies.perplexity.stretches import stretch_count

WINDOW = 4096  # tokens, as in the paper; less where the model's context is shorter


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerplexitySettings:
    """How well does the model predict a text if its state is bounded, by policy and size?"""

    model: ModelName
    text: str | None = None
    """ferry (if absent), a story that comes with this package; kjv, which models know by heart;
    persuasion or another novel by Jane Austen; or a UTF-8 file. Not for toy, which takes random
    digits."""
    policies: tuple[str, ...] = (
        "full", "short", "window", "window+4", "h2o", "h2o-layer", "tova", "tova-head", "tova+4",
    )  # fmt: skip
    """Policies: NAME[-head|-layer][+SINKS][@RECENT][~DECAY], by default h2o by head and tova
    by layer; full evicts nothing, whatever the slots, and short restarts with an empty
    cache after as many tokens as there are slots."""
    slots: tuple[str, ...] = ("64", "128", "256", "512", "1024")
    """Sizes of the state: tokens (256), a share of the window (12.5%), or bytes (2MiB)."""
    max_tokens: int = 4096
    """Maximum tokens of the text."""
    span: Literal["windows", "book"] = "windows"
    """windows: each is read from an empty state. book: one state through the whole text;
    full then has room for all of it."""
    windows: int | Literal["context"] | None = None
    """Tokens of a window: a number, or the model's context; if absent 4096, or the context where
    that is shorter."""
    chunk: int = 256
    """Tokens that go through projections together; it moves memory and speed only."""
    position_ids: PositionIds = "original"
    """Position ids of cached tokens with rotary positions: original, gaps over ten
    compressed, or consecutive. With the last two a text may be longer than the context."""
    formats: Formats = ("f32",)
    """Plans by name; the others are compared with the first."""
    positions: str = "none"
    """For toy: the positional encoding."""
    seed: int = 0
    """Seed of the random digits; of the toy and of a run folder, which decoder."""
    devices: Devices = 1

    def __post_init__(self) -> None:
        check_settings(self)
        names = distinct_policies(self.policies, beside=(SHORT,))
        object.__setattr__(self, "policies", names)  # an alias is read, and never written
        object.__setattr__(self, "formats", checked_formats(self.formats))
        for budget in self.slots:
            check_budget(budget)
        check_each(
            (
                (self.max_tokens >= 2, "--max-tokens of 2 or more", self.max_tokens),
                (self.chunk >= 1, "a --chunk of 1 or more", self.chunk),
                (
                    not isinstance(self.windows, int) or self.windows >= 2,
                    "--windows of 2 tokens or more",
                    self.windows,
                ),
                (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
                (
                    self.positions in TOY_POSITIONS,
                    f"--positions out of {', '.join(TOY_POSITIONS)}",
                    self.positions,
                ),
            )
        )
        # Settings that would have no effect are refused, not passed over.
        if self.positions != "none" and not is_toy(self.model):
            expected = "Expected --positions with the toy only"
            raise BadInput(f"{expected}, got {self.model}, which has its own: leave them out.")
        if self.text is not None and is_toy(self.model):
            expected = "Expected --text with a model that reads text, got toy"
            raise BadInput(f"{expected}, which takes random digits: leave --text out.")
        if self.windows is not None and self.span == "book":
            expected = "Expected --windows with --span windows only, got --span book"
            raise BadInput(f"{expected}: leave one of the two out.")

    @property
    def plans(self) -> dict[str, RoundingPlan]:
        """The rounding plans, by the names of ``formats``."""
        return {name: model_plan(name) for name in self.formats}

    @property
    def steps(self) -> int:
        """Number of steps of a run: for a progress bar, as far as the settings determine it."""
        # A context as the size is known once the model is open: an estimate.
        size = self.windows if isinstance(self.windows, int) else WINDOW
        sizes = [1 if name == "full" else len(self.slots) for name in self.policies]
        cells = len(self.formats) * sum(sizes)
        if self.span == "book":  # a step a stretch
            return cells * stretch_count(self.max_tokens)
        return cells * -(-self.max_tokens // size)
