"""Settings of the bounded study."""

import dataclasses
from typing import Literal

from glassesjax.cache import distinct_policies, policy
from glassesjax.cache.budget_text import check_budget
from glassesjax.errors import BadInput
from glassesjax.model.toy import TOY_POSITIONS, encodings, is_toy
from glassesjax.precision.arithmetic import model_plan
from glassesjax.precision.plan import RoundingPlan
from glassesjax.runs.formats import Format, checked_format
from glassesjax.runs.study import Devices, ModelName
from glassesjax.settings import check_each, check_one, check_settings

LENGTHS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
POLICIES = ("full", "window", "window+4", "h2o", "tova")
# Those whose prompts are a text's prefixes, or these and one token more.
FAMILIES = ("ones", "ones_zero", "ones_bos", "doubled_digits", "alternating")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundedSettings:
    """Do collapse and over-squashing change where the state is bounded?"""

    model: ModelName
    policies: tuple[str, ...] = POLICIES
    """Policies, as NAME[-head|-layer][+SINKS][@RECENT][~DECAY]; by default h2o decides by head and
    tova by layer."""
    slots: tuple[str, ...] = ("8",)
    """Capacities of every layer: tokens (64), a share of the text (12.5%), or bytes (2MiB)."""
    kinds: tuple[Literal["collapse", "influence"], ...] = ("collapse", "influence")
    """Kinds of measurement."""
    families: tuple[str, ...] = ("ones_bos", "ones_zero")
    """Families of runs: ones, ones_zero, ones_bos, doubled_digits, alternating."""
    lengths: tuple[int, ...] = LENGTHS
    """Run lengths n, in tokens of the run, ascending; each is compared with n + 1."""
    prompt: str = ""
    """The text whose tokens' influence is measured; for toy, digits and commas."""
    prompt_tokens: tuple[int, ...] = ()
    """That text as token numbers, to which nothing is added; in place of --prompt."""
    text: str | None = None
    """Source of that text if no prompt is given: ferry (if absent), a story that comes with
    this package, kjv, a novel by Jane Austen (persuasion, emma), or a UTF-8 file. Not for toy,
    which takes random digits."""
    max_tokens: int = 64
    """Maximum tokens of that text: a longer one is cut there, a longer prompt is refused."""
    method: Literal["estimated", "exact"] = "estimated"
    """estimated: random probes, with standard errors. exact: one pullback for each coordinate of
    the last representation, with operator norms and the bound on them."""
    probes: int = 16
    """Number of random probes; ignored with exact."""
    format: Format = "f64"
    """A plan by name."""
    positions: tuple[str, ...] = ()
    """For toy: which positional encodings; all if absent."""
    seed: int = 0
    """Seed of the probes and the random digits; of the toy and of a run folder, which decoder."""
    devices: Devices = 1

    def __post_init__(self) -> None:
        check_settings(self, repeatable=("prompt_tokens",))
        derived = "influence" in self.kinds
        name = checked_format(self.format, derived=derived, otherwise=", or --kinds collapse")
        object.__setattr__(self, "format", name)
        names = distinct_policies(self.policies)
        object.__setattr__(self, "policies", names)  # an alias is read, and never written
        for budget in self.slots:
            check_budget(budget)
        if self.lengths[0] < 1 or list(self.lengths) != sorted(self.lengths):
            raise BadInput(
                f"Expected ascending positive --lengths, got {list(self.lengths)}: sort them."
            )
        if unknown := sorted(set(self.families) - set(FAMILIES)):
            expected = f"Expected families out of {', '.join(FAMILIES)}, which differ in one token"
            raise BadInput(f"{expected}, got {unknown[0]!r}: choose one.")
        check_each(
            (
                (self.max_tokens >= 1, "--max-tokens of 1 or more", self.max_tokens),
                (self.probes >= 2, "--probes of 2 or more", self.probes),
                (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
            )
        )
        if self.positions and not is_toy(self.model):
            expected = "Expected --positions with the toy only"
            raise BadInput(f"{expected}, got {self.model}, which has its own: leave them out.")
        if unknown := sorted(set(self.positions) - TOY_POSITIONS.keys()):
            expected = f"Expected positions out of {', '.join(TOY_POSITIONS)}"
            raise BadInput(f"{expected}, got {unknown[0]!r}: choose one.")
        if self.text is not None and is_toy(self.model):
            raise BadInput("Expected --text with a model that reads text, got toy: leave it out.")
        given = {
            "--prompt": self.prompt,
            "--prompt-tokens": self.prompt_tokens,
            "--text": self.text,
        }
        check_one(given)

    @property
    def encodings(self) -> tuple[str, ...]:
        """The positional encodings to run through: one, its own, for a pretrained model."""
        return encodings(self.model, self.positions)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Policies with their budgets; one that evicts nothing occurs once."""
        bounded = lambda name: policy(name).bounded
        budgets = lambda name: self.slots if bounded(name) else self.slots[:1]
        return tuple((name, budget) for name in self.policies for budget in budgets(name))

    @property
    def steps(self) -> int:
        """Number of cells."""
        each = {"collapse": len(self.families), "influence": 1}
        return len(self.encodings) * len(self.pairs) * sum(each[kind] for kind in self.kinds)

    @property
    def plan(self) -> RoundingPlan:
        """Rounding plan of the passes."""
        return model_plan(self.format)
