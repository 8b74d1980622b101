"""The records of Theorem 4.2's certificate: measured quantities and their bounds."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Inequality(NamedTuple):
    """A measured quantity and its upper bound."""

    measured: Float[Array, "*shape"]
    bound: Float[Array, "*shape"]

    @property
    def applies(self) -> Bool[Array, "*shape"]:
        """Whether there is a bound: it is NaN where it needs an unknown constant."""
        return ~jnp.isnan(self.bound)

    def holds(self, roundoff: float = 0.0) -> Bool[Array, "*shape"]:
        """Whether the bound is finite and not exceeded by more than the rounding error.

        Args:
          roundoff: Absolute rounding error of the measured quantity.

        Returns:
          False also for NaN, where the inequality does not apply.
        """
        return jnp.isfinite(self.bound) & (self.measured <= self.bound + roundoff)


class LayerHypotheses(NamedTuple):
    """The hypotheses of the inequalities of one layer, as measured."""

    row_sum_error: Float[Array, "*layers heads"]  #: of either row, from one; 0 but for rounding
    softmax_error: Float[Array, "*layers heads"]  #: L1, weights from softmax(logits); likewise
    logit_range: Float[Array, "*layers heads"]  #: D, of both rows; infinite where one is masked


class LayerCertificate(NamedTuple):
    """Measured quantities of one layer (or of each) beside their bounds."""

    error: Float[Array, "*layers"]  #: e, distance of the two rows before the layer
    mid: Inequality  #: (R1) distance after attention
    out: Inequality  #: (R2) distance after the layer
    row_change: Inequality  #: (R3) T, one per head
    by_increments: Inequality  #: (R4) T again, by queries and positional steps, one per head
    self_weight: Inequality  #: (R5) the last row's weight on itself, one per head
    hypotheses: LayerHypotheses


class CollapseCertificate(NamedTuple):
    """All layers' certificates and the bound that the recursion carries through them."""

    layers: LayerCertificate
    propagated: Float[Array, " layers+1"]  #: bound on e before each layer and after the last
    output: Inequality  #: distance after the last layer
    equal_tokens: Bool[Array, ""]  #: the hypothesis that the first layer's two rows are equal
