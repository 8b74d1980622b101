"""Settings of the recall study."""

import dataclasses
from typing import Annotated, Literal

import tyro

from glassesjax.cache import distinct_policies
from glassesjax.cache.budget_text import check_budget
from glassesjax.cache.policies import PrefillMode
from glassesjax.errors import BadInput
from glassesjax.model.toy import is_toy
from glassesjax.precision.arithmetic import model_plan
from glassesjax.precision.plan import RoundingPlan
from glassesjax.runs.formats import Format, checked_format
from glassesjax.runs.study import Devices
from glassesjax.settings import check_each, check_settings

TRUNCATED = "truncated"  # the baseline that truncates the passage; no policy


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecallSettings:
    """What can the model still say of what it has read, if its state is bounded?"""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A model that reads texts: smollm2; a folder of config.json and safetensors, or org/name of
    one in the cache of huggingface_hub; or a .gguf file of these families."""
    tasks: tuple[Literal["verse", "said"], ...] = ("verse", "said")
    """verse: how a verse begins, by its reference. said: who spoke, by the words spoken."""
    lengths: tuple[int, ...] = (512,)
    """Maximum tokens of a passage."""
    depths: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Depths of the answers, as shares of the passage from its beginning."""
    items: int = 4
    """Passages of each task and length; each has a question for every depth."""
    words: int = 8
    """Words of a verse in the expected answer; all if 0."""
    hint: int = 0
    """First words of a verse that follow its reference in the question; the answer is the words
    after them."""
    policies: tuple[str, ...] = ("full", TRUNCATED, "window", "window+4", "h2o", "tova")
    """Policies: NAME[-head|-layer][+SINKS][@RECENT][~DECAY], by default h2o by head and tova
    by layer; full evicts nothing, whatever the slots, and truncated processes only as many
    last tokens as there are slots."""
    slots: tuple[str, ...] = ("64", "256")
    """Sizes of the state: tokens (256), a share of passage, question and answer (12.5%), or bytes
    (2MiB)."""
    mode: PrefillMode = "exact"
    """Eviction in prefill of passage and question: per token (exact), one-shot after each of the
    two (one_shot), or after every 256 and 64 tokens (chunked)."""
    format: Format = "f32"
    """A plan by name."""
    seed: int = 0
    """Seed of the choice of passages; of a run folder, which decoder."""
    devices: Devices = 1

    def __post_init__(self) -> None:
        check_settings(self)
        names = distinct_policies(self.policies, beside=(TRUNCATED,))
        object.__setattr__(self, "policies", names)  # an alias is read, and never written
        object.__setattr__(self, "format", checked_format(self.format))
        for budget in self.slots:
            check_budget(budget)
        check_each(
            (
                (min(self.lengths) >= 1, "--lengths of 1 or more", self.lengths),
                (all(0 <= d <= 1 for d in self.depths), "--depths from 0 to 1", self.depths),
                (self.items >= 1, "--items of 1 or more", self.items),
                (self.words >= 0, "--words of 0 or more", self.words),
                (self.hint >= 0, "a --hint of 0 words or more", self.hint),
                (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
            )
        )
        if is_toy(self.model):
            raise BadInput(
                "Expected a model that reads text, got toy, which reads digits: see --help."
            )

    @property
    def steps(self) -> int:
        """Number of steps of a run: a passage under a policy each."""
        # The full cache has one size, whatever the slots.
        ways = sum(1 if name == "full" else len(self.slots) for name in self.policies)
        return ways * len(self.tasks) * len(self.lengths) * self.items

    @property
    def plan(self) -> RoundingPlan:
        """Rounding plan of the passes."""
        return model_plan(self.format)
