"""Validates the least memory of derivatives of the last representation before they are computed."""

from glassesjax.memory import check_memory
from glassesjax.model.config import DecoderConfig


def check_probes(config: DecoderConfig, probes: int, itemsize: int) -> None:
    """Validates that the probes fit into memory.

    Args:
      config: Settings of the model.
      probes: Random vectors of signs by which influence is estimated, all drawn at once.
      itemsize: Bytes of a number.

    Raises:
      BadInput: They do not fit.
    """
    check_memory(probes * config.model_dim * itemsize, f"{probes} --probes", "use fewer")


def check_derivatives(config: DecoderConfig, length: int, itemsize: int, *, spectral: int) -> None:
    """Validates that attention weights and Jacobians of a text fit into memory.

    Args:
      config: Settings of the model.
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
