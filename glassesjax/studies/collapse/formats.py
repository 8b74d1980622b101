"""What a name of ``--formats`` means for a collapse run: its arithmetic, weights and storage."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from glassesjax.precision.arithmetic import coarsest_error, model_plan
from glassesjax.precision.format_names import float_format
from glassesjax.precision.formats import BF16, F16, F32, F64, FloatFormat
from glassesjax.precision.plan import WEIGHT_SITES, RoundingPlan, Site
from glassesjax.precision.scaled import NumberFormat

NATIVE = (F32, BF16, F16)  # all backends compute in these; others are simulated


class CellFormat(NamedTuple):
    """A format, or a rounding plan, of a cell."""

    plan: RoundingPlan
    """Its own arithmetic."""
    everywhere: FloatFormat | None
    """The float format that all of it is in; None where sites differ."""

    @property
    def mode(self) -> Literal["native", "simulated"]:
        """How its own arithmetic is done here."""
        return "native" if self.plan.mode == "native" else "simulated"

    @property
    def weights(self) -> Mapping[str, NumberFormat]:
        """Formats of the weights, by site; none where they stay as they were read."""
        return weights_of(self.plan)

    @property
    def storage(self) -> NumberFormat | None:
        """In what a last representation is stored: at the output, else in the residual stream."""
        return self.plan.output or self.plan.residual

    @property
    def unit(self) -> FloatFormat:
        """The format whose spacing is the unit of ``ulp``: of storage, else of the carrier."""
        return self.storage if isinstance(self.storage, FloatFormat) else self.plan.carrier

    @property
    def unit_roundoff(self) -> float:
        """Of the coarsest format of the plan."""
        return coarsest_error(self.plan)

    def own_plan(self, precision: FloatFormat) -> RoundingPlan | None:
        """Its own arithmetic; None where that is reference precision itself."""
        if self.everywhere is not None and self.everywhere.contains(precision):
            return None
        return self.plan


@functools.cache
def cell_format(name: str) -> CellFormat:
    """The format or the plan of a name.

    Args:
      name: A float format, native where all backends compute in it and else simulated, in float64
        where float32 does not contain it; or a plan as for ``model_plan``.

    Raises:
      BadInput: There is none.
    """
    try:
        fmt = float_format(name)
    except ValueError:
        plan = model_plan(name)
        if plan.mode == "simulated":
            return CellFormat(plan, None)
        # Nothing but the dtype of all arrays.
        fmt = plan.weights if plan.mode == "native" else plan.carrier
    if not isinstance(fmt, FloatFormat):
        raise TypeError(f"Expected native arithmetic of a float format, got {name}.")
    return CellFormat(RoundingPlan.everywhere(fmt, mode=own_mode(fmt)), fmt)


def own_mode(number_format: NumberFormat) -> Literal["native", "simulated"]:
    """How a format's own arithmetic is done here."""
    return "native" if number_format in NATIVE else "simulated"


def weights_of(plan: RoundingPlan) -> dict[str, NumberFormat]:
    """Formats of the weights that a plan has, by site."""
    return {site.value: fmt for site, fmt in plan.formats.items() if site in WEIGHT_SITES}


def storing(
    weights: Mapping[str, NumberFormat], carrier: FloatFormat | None = None
) -> RoundingPlan:
    """The plan that stores weights alone, in arrays as narrow as the backends have.

    Args:
      weights: Formats by site, at least one.
      carrier: F32 or F64; the narrower that contains them if absent.
    """
    narrow = weights.keys() == {Site.WEIGHTS} and own_mode(weights[Site.WEIGHTS]) == "native"
    wide = any(fmt.min_carrier == F64 for fmt in weights.values())
    sites: dict[str, Any] = dict(weights)
    return RoundingPlan(
        **sites,
        mode="native" if narrow else "simulated",
        carrier=carrier or (F64 if wide else F32),
    )
