"""Baselines in lists of policies: names that a study adds, computed by the full model."""

import dataclasses

from jax.typing import DTypeLike

from glassesjax.cache import Policy, policy, resolve_slots
from glassesjax.model.config import DecoderConfig
from glassesjax.precision import RoundingPlan


def named_policy(name: str, baseline: str) -> Policy:
    """The policy of a name, where the name of a baseline is allowed too.

    Args:
      name: As on the command line.
      baseline: Name of the baseline, which is no policy of the cache.

    Returns:
      The policy; ``full`` for the baseline.

    Raises:
      BadInput: There is no such policy, and it is not the baseline.
    """
    return policy("full") if name == baseline else policy(name, beside=(baseline,))


def named_slots(
    budget: str,
    config: DecoderConfig,
    rule: Policy,
    *,
    baseline: str,
    length: int,
    dtype: DTypeLike | RoundingPlan,
) -> int:
    """The number of slots of a budget, for a policy or for a baseline.

    Args:
      budget: As for ``resolve_slots``.
      config: The decoder's settings.
      rule: The policy.
      baseline: The baseline's name where it is one, else empty.
      length: Tokens of the text.
      dtype: Of keys and values, or the plan.

    Returns:
      Slots; of a baseline as many as a window would have.

    Raises:
      BadInput: As for ``resolve_slots``, with the name of the baseline.
    """
    sized = dataclasses.replace(policy("window"), name=baseline) if baseline else rule
    return resolve_slots(budget, config, sized, length=length, dtype=dtype)
