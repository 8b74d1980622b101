"""Settings of sampling the next token."""

import dataclasses

from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE_SHARE, check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of sampling, applied in order: temperature, ``top_k``, ``top_p``."""

    temperature: float = 0.0
    """Divisor of the logits; 0 is greedy."""
    top_k: int | None = None
    """Number of most probable tokens that are kept; all if absent."""
    top_p: float = 1.0
    """Probability of the smallest set of most probable tokens that is kept."""

    def __post_init__(self) -> None:
        check_fields(self, temperature=NON_NEGATIVE, top_k=COUNT, top_p=POSITIVE_SHARE)

    @property
    def draws(self) -> bool:
        """Whether the choice depends on a PRNG key."""
        return self.temperature > 0


GREEDY = Sampling()
