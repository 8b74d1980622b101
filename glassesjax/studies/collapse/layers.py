"""Theorem 4.2 of a model and a prompt: the certificate of all its layers as one record."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Int

from glassesjax.model.decoder import Decoder
from glassesjax.studies.collapse.records import Inequality, LayerBounds
from glassesjax.theory.collapse import certificate_roundoff, collapse_certificate
from glassesjax.theory.collapse_records import CollapseCertificate
from glassesjax.trace.certificate import certificate_rows

FIELDS: Mapping[Inequality, str] = {
    "R1": "mid",
    "R2": "out",
    "R3": "row_change",
    "R4": "by_increments",
    "R5": "self_weight",
}


@jax.jit
def _certified(
    decoder: Decoder, tokens: Int[Array, " seq"]
) -> tuple[CollapseCertificate, dict[str, Array]]:
    # In the paper's norm; norm 2 would need the singular values of all matrices.
    rows = certificate_rows(decoder, tokens, 1)
    return collapse_certificate(rows, 1), certificate_roundoff(rows)


def layer_bounds(decoder: Decoder, tokens: Int[Array, " seq"]) -> LayerBounds:
    """Theorem 4.2 in each layer, for the last two rows of a pass.

    Args:
      decoder: Causal, in the arithmetic of the pass.
      tokens: A prompt whose last token is repeated.

    Returns:
      The record of a row.
    """
    found, rounding = jax.device_get(_certified(decoder, tokens))
    without: list[Inequality] = []
    exceeded: list[Inequality] = []
    for name, field in FIELDS.items():
        measured, bound = (np.asarray(side) for side in getattr(found.layers, field))
        # (layers) or (layers, heads), beside one number for each layer
        allowed = np.reshape(rounding[field], (-1, *[1] * (measured.ndim - 1)))
        if not np.all(np.isfinite(bound)):
            without.append(name)
        if np.any(measured > bound + allowed):  # false where a bound is NaN
            exceeded.append(name)
    return LayerBounds(
        entry_distance=float(found.layers.error[0]),
        layers_distance=float(found.output.measured),
        layers_bound=float(found.output.bound),
        without_bound=tuple(without),
        exceeded=tuple(exceeded),
    )
