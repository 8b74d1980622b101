"""Settings of the influence study."""

import dataclasses
from typing import Literal

from glassesjax.errors import BadInput
from glassesjax.model.toy import TOY_POSITIONS, is_toy
from glassesjax.precision.arithmetic import model_plan
from glassesjax.precision.plan import RoundingPlan
from glassesjax.runs.formats import Format, checked_format
from glassesjax.runs.study import Devices, ModelName
from glassesjax.settings import check_one, check_settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfluenceSettings:
    """How much does each token still move the last representation, and what bounds it?"""

    model: ModelName
    prompt: str = ""
    """The text itself; for toy, digits and commas."""
    prompt_tokens: tuple[int, ...] = ()
    """The prompt as token numbers, to which nothing is added; in place of a text."""
    text: tuple[str, ...] = ()
    """Source of passages if no prompt is given: ferry (if absent), a story that comes
    with this package, kjv, novels by Jane Austen (persuasion, emma), or UTF-8 files. Not for toy,
    which takes random digits."""
    passages: int = 4
    """Passages of each text, evenly spread over it but for its opening, which models know best; 1:
    from its start. A text too short for so many is read from its start, once."""
    max_tokens: int = 64
    """Most tokens of a passage, with the one that begins it: a longer text is cut there, a shorter
    one is read whole. A longer prompt is refused."""
    method: Literal["estimated", "exact"] = "estimated"
    """estimated: random probes, with standard errors. exact: one pullback for each coordinate of
    the last representation."""
    probes: int = 32
    """Number of random probes."""
    spectral: tuple[int, ...] | None = None
    """Layers whose operator norms are measured as well; exact only, 0 is the embedding (0 if
    absent)."""
    attention: tuple[Literal["true", "frozen"], ...] = ("true", "frozen")
    """Derivatives with attention weights as functions of the input (true) or constants (frozen)."""
    format: Format = "f32"
    """A plan by name."""
    positions: str = "none"
    """For toy: the positional encoding."""
    seed: int = 0
    """Seed of the probes and the random digits; of the toy and of a run folder, which decoder."""
    devices: Devices = 1

    @property
    def spectral_layers(self) -> tuple[int, ...]:
        """Layers whose operator norms are measured: the requested ones, or the default."""
        if self.spectral is None:
            return (0,) if self.method == "exact" else ()
        return self.spectral

    def __post_init__(self) -> None:
        check_settings(self, repeatable=("prompt_tokens",))
        object.__setattr__(self, "format", checked_format(self.format, derived=True))
        layers = self.spectral_layers
        for holds, wanted, got in (
            (self.max_tokens >= 1, "--max-tokens of 1 or more", self.max_tokens),
            (self.passages >= 1, "--passages of 1 or more", self.passages),
            (self.probes >= 2, "--probes of 2 or more", self.probes),
            (
                min(layers, default=0) >= 0,
                "--spectral layers from 0",
                layers,
            ),
            (0 <= self.seed < 2**32, "a seed from 0 to 2^32 - 1", self.seed),
            (
                self.positions in TOY_POSITIONS,
                f"--positions out of {', '.join(TOY_POSITIONS)}",
                self.positions,
            ),
        ):
            if not holds:
                raise BadInput(f"Expected {wanted}, got {got}: change it.")
        if self.positions != "none" and not is_toy(self.model):
            wanted = f"Expected --positions with the toy only, got {self.model}, which has its own"
            raise BadInput(f"{wanted}: leave --positions out.")
        # Settings that would have no effect.
        if self.spectral is not None and self.method != "exact":
            wanted = "Expected --spectral with --method exact only, got --method estimated"
            raise BadInput(f"{wanted}: leave one of the two out.")
        if self.text and is_toy(self.model):
            wanted = "Expected --text with a model that reads text, got toy"
            raise BadInput(f"{wanted}: give it digits and commas by --prompt, or leave --text out.")
        given = {
            "--prompt": self.prompt,
            "--prompt-tokens": self.prompt_tokens,
            "--text": self.text,
        }
        check_one(given)

    @property
    def plan(self) -> RoundingPlan:
        """Rounding plan of the passes."""
        return model_plan(self.format)
