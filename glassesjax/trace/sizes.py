"""Least memory and work of derivatives of the last representation, before they are computed."""

import math
from collections.abc import Sequence

from glassesjax.memory import check_memory, size_text
from glassesjax.model.config import DecoderConfig
from glassesjax.model.weights import parameter_shapes
from glassesjax.process import note

LONG = 10**13  # multiplications: minutes on a few cores


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
    remedy = "use --method estimated or a lower --max-tokens"
    check_memory(
        _norm_bytes(config, length, itemsize, spectral),
        f"operator norms at {length} tokens",
        remedy,
    )


def note_exact(
    config: DecoderConfig, lengths: Sequence[int], probes: int, itemsize: int, *, spectral: int
) -> None:
    """Prints what exact derivatives cost, where they take long, and what the estimate does.

    Args:
      config: Settings of the model.
      lengths: Tokens of each text, once for each kind of derivative.
      probes: Vectors that the estimate pulls back for each.
      itemsize: Bytes of a number.
      spectral: Layers whose operator norms are measured.
    """
    width, shapes = config.model_dim, parameter_shapes(config)
    layers = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("blocks."))
    # A pullback multiplies by every matrix of the layers once, as a pass does, and more.
    work = width * layers * sum(lengths)
    if work < LONG:
        return
    cost = f"{width * len(lengths)} vectors are pulled back, {width} for each text and kind"
    norms = _norm_bytes(config, max(lengths), itemsize, spectral)
    memory = f", and {size_text(norms)} for operator norms" if spectral else ""
    note(
        f"glassesjax: --method exact: {cost}: {work:.1e} multiplications at the least{memory}; "
        f"--method estimated pulls back {probes} for each."
    )


def _norm_bytes(config: DecoderConfig, length: int, itemsize: int, spectral: int) -> int:
    """Of the matrices whose largest eigenvalues are the squares of operator norms."""
    return spectral * length * config.model_dim**2 * itemsize
