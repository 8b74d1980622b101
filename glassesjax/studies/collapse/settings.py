"""Settings of the collapse study."""

import dataclasses
from typing import Annotated

import tyro

from glassesjax.errors import BadInput
from glassesjax.model.toy import TOY_POSITIONS, encodings, is_toy
from glassesjax.runs.formats import PLANS, checked_formats
from glassesjax.runs.study import Devices, ModelName
from glassesjax.settings import check_settings
from glassesjax.studies.collapse.formats import cell_format
from glassesjax.tasks.sequences import SYMBOL_FAMILIES, run_family

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

HELP = (
    "Arithmetics, one or more: a float format (e4m3fn, e5m7), simulated where no backend computes"
    f" in it; or a plan: {PLANS}"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollapseSettings:
    """How far apart are the last representations of runs of n and n + 1 tokens, in each format?"""

    model: ModelName
    families: tuple[str, ...] = SYMBOL_FAMILIES
    """Families of runs; beside these ones_text."""
    lengths: tuple[int, ...] = LENGTHS
    """Run lengths n, ascending: in tokens of the run, of ones_text in characters; each is compared
    with n + 1."""
    formats: Annotated[tuple[str, ...], tyro.conf.arg(help=HELP, aliases=("--format",))] = (
        "f32",
        "bf16",
        "f16",
    )
    """Number formats and plans by name."""
    positions: tuple[str, ...] = ()
    """For toy: which positional encodings; all if absent."""
    seed: int = 0
    """Seed of the random digits; of the toy and of a run folder, which decoder."""
    devices: Devices = 1

    def __post_init__(self) -> None:
        check_settings(self)
        if self.lengths[0] < 1 or list(self.lengths) != sorted(self.lengths):
            raise BadInput(
                f"Expected ascending positive --lengths, got {list(self.lengths)}: sort them."
            )
        if not 0 <= self.seed < 2**32:
            raise BadInput(f"Expected a seed from 0 to 2^32 - 1, got {self.seed}: choose another.")
        for family in self.families:
            run_family(family)
        plan_of = lambda name: cell_format(name).plan
        object.__setattr__(self, "formats", checked_formats(self.formats, plan_of=plan_of))
        if self.positions and not is_toy(self.model):
            expected = "Expected --positions with the toy only"
            raise BadInput(f"{expected}, got {self.model}, which has its own: leave them out.")
        if unknown := sorted(set(self.positions) - TOY_POSITIONS.keys()):
            expected = f"Expected positions out of {', '.join(TOY_POSITIONS)}"
            raise BadInput(f"{expected}, got {unknown[0]!r}: choose one.")

    @property
    def encodings(self) -> tuple[str, ...]:
        """The positional encodings to run through: one, its own, for a pretrained model."""
        return encodings(self.model, self.positions)
