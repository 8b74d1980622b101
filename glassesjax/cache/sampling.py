"""How the next token is chosen, as a value."""

import dataclasses

from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE_SHARE, check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen: first the temperature, then ``top_k``, then ``top_p``."""

    temperature: float = 0.0
    """What logits are divided by; 0 takes the best token, and nothing is drawn."""
    top_k: int | None = None
    """How many of the best tokens may be drawn; all if absent."""
    top_p: float = 1.0
    """The smallest set of best tokens whose probability reaches this may be drawn."""

    def __post_init__(self) -> None:
        check_fields(self, temperature=NON_NEGATIVE, top_k=COUNT, top_p=POSITIVE_SHARE)

    @property
    def draws(self) -> bool:
        """Whether the choice depends on a key."""
        return self.temperature > 0


GREEDY = Sampling()
