"""What derivatives of the last representation take in memory at the least, before any is taken."""

from typing import Any

from glassesjax.memory import check_memory
from glassesjax.model.config import DecoderConfig


def check_probes(settings: Any, config: DecoderConfig, itemsize: int) -> None:  # noqa: ANN401
    """Refuses more probes than fit into memory.

    Args:
      settings: Of a study with ``method`` and ``probes``.
      config: Of the model.
      itemsize: Bytes of a number.

    Raises:
      BadInput: They do not fit.
    """
    if settings.method == "estimated":
        needed = settings.probes * config.model_dim * itemsize  # signs, drawn at once
        check_memory(needed, f"{settings.probes} --probes", "use fewer")


def check_derivatives(config: DecoderConfig, length: int, itemsize: int, *, spectral: int) -> None:
    """Refuses a text whose attention, or matrices of derivatives, do not fit into memory.

    Args:
      config: Of the model.
      length: Tokens of the longest text.
      itemsize: Bytes of a number.
      spectral: Layers whose operator norms are measured: a matrix for each token.

    Raises:
      BadInput: They do not fit.
    """
    attention = config.num_heads * length**2 * itemsize  # of one layer, for the rollout
    check_memory(attention, f"attention over {length} tokens", "use a lower --max-tokens")
    matrices = spectral * length * config.model_dim**2 * itemsize
    check_memory(matrices, f"operator norms at {length} tokens", "use a lower --max-tokens")
