"""What rows record of a pass that leaves the finite numbers: where it does so first."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OverflowFields:
    """The first overflow of the pass; where it is not finite, of a plan that rounds.

    Missing also where it is beyond the first 256 tokens.
    """

    overflow_site: str
    """The rounding site whose stored values are the first that are not all finite; of native
    arithmetic, that of the same formats simulated."""
    overflow_layer: int | None = None
    """In which layer, from 0; missing for weights, the embedding and the output."""

    @property
    def place(self) -> str:
        """Both in words."""
        layer = "" if self.overflow_layer is None else f" in layer {self.overflow_layer}"
        return f"{self.overflow_site}{layer}"
