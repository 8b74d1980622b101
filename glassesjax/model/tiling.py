"""Sizes of the blocks in which long computations run: they bound memory, and order the sums."""

import dataclasses

from glassesjax.borders import COUNT, check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiling:
    """Rows and tokens that are computed together.

    Another blocking sums in another order: in float32 that moves last digits, in bfloat16 it may
    move a result by a third. So rows of results record it. The defaults suit two CPU cores.
    """

    attention_rows: int = 256
    """Query rows that attend at once where attention is not kept: memory is rows x keys."""
    attention_stretches: int = 8
    """Stretches of rows that see the same keys: an eighth more work than none to spare."""
    pullback_rows: int = 128
    """Query rows at once in a derivative: a head's pairs of them and 512 keys in float32 fill a
    quarter megabyte."""
    prefill_chunk: int = 256
    """Tokens that go through projections and MLPs together where a text is read into a cache."""
    prompt_chunk: int = 64
    """Tokens of each prompt that are read together where a batch goes on from one state."""
    loss_rows: int = 128
    """Rows of logits over the vocabulary that are in memory together."""

    def __post_init__(self) -> None:
        check_fields(self, "Tiling", **dict.fromkeys(vars(self), COUNT))

    def __str__(self) -> str:
        return ", ".join(f"{name}={size}" for name, size in vars(self).items())


TILING = Tiling()
