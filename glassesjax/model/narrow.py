"""Weights of 16 bits that stay narrow under a plan that computes with them in a wider format."""

from glassesjax.model.decoder import Decoder
from glassesjax.precision import F32, F64, RoundingPlan
from glassesjax.precision.formats import FloatFormat


def under(decoder: Decoder, plan: RoundingPlan) -> Decoder:
    """The decoder under a plan, its weights as narrow as they are where that changes no number.

    Args:
      decoder: Any decoder.
      plan: Where to round.

    Returns:
      ``decoder.at(plan)``; but weights stored in 16 bits, which the plan would only widen, are
      widened where they are used, one layer at a time.
    """
    return decoder.at(_narrow(decoder, plan))


def _narrow(decoder: Decoder, plan: RoundingPlan) -> RoundingPlan:
    stored = decoder.plan.weights
    if decoder.plan.mode != "native" or not isinstance(stored, FloatFormat) or stored in (F32, F64):
        return plan
    # Of float32 and float64 everywhere nothing is rounded but the weights, which hold their values.
    wide = all(each in (F32, F64) for each in plan.rounded.values())
    if plan.mode == "simulated" or not wide:
        return plan
    return RoundingPlan(weights=stored, mode="native", carrier=plan.carrier)
