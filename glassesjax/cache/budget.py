"""Capacity of a state from a budget: in tokens, in bytes, or as a share of the text."""

from collections.abc import Sequence

import numpy as np
from jax.typing import DTypeLike

from glassesjax.borders import COUNT, NON_NEGATIVE, border
from glassesjax.cache.budget_text import UNITS, check_count, read_budget
from glassesjax.cache.policies import Policy
from glassesjax.cache.slots import budgets_of, check_causal
from glassesjax.cache.stored import Storage
from glassesjax.errors import BadInput
from glassesjax.memory import check_memory
from glassesjax.model.config import DecoderConfig
from glassesjax.precision import RoundingPlan
from glassesjax.settings import MOST


@border()
def state_bytes(
    config: DecoderConfig,
    policy: Policy,
    slots: int | np.integer | Sequence[int | np.integer],
    dtype: DTypeLike | RoundingPlan,
) -> int:
    r"""Memory of the state of one sequence: k + 1 cache slots a layer, for a capacity of k.

    .. math:: \mathrm{layers} \cdot (k + 1) \cdot (\mathrm{kv\_heads} \cdot
       (d_\mathrm{key} + d_\mathrm{value}) \cdot \mathrm{itemsize} + \mathrm{groups} \cdot (4 + m))

    or, of packed keys and values, the bytes of their codes and scales in place of :math:`d \cdot
    \mathrm{itemsize}`; with 4 bytes for a position and m for the accumulated attention. Most of it
    is keys and values.

    Source: arXiv 2401.06104v2, Table 1.
    Differs: one slot more than the capacity, positions and accumulated attention are counted.

    Args:
      config: The decoder's settings.
      policy: The eviction policy; a head-wise one has positions for each key-value head.
      slots: Capacity of every layer, or of each.
      dtype: Of keys and values, or the plan, as of ``empty_state``.

    Returns:
      Bytes.

    Raises:
      BadInput: The number of capacities is not the number of layers.
    """
    budgets = budgets_of(config, slots)
    return sum(budget + 1 for budget in budgets) * _slot_bytes(config, policy, dtype)


def _slot_bytes(config: DecoderConfig, policy: Policy, dtype: DTypeLike | RoundingPlan) -> int:
    groups = config.kv_heads if policy.head_wise else 1
    storage = Storage.of(dtype, config)
    of_head = storage.row_bytes(config.key_dim) + storage.row_bytes(config.value_dim)
    # Attention accumulates in the carrier, also beside keys of 16 bits.
    beside = np.dtype(np.int32).itemsize + storage.wide.itemsize
    return config.kv_heads * of_head + groups * beside


@border(length=COUNT)
def resolve_slots(
    budget: str,
    config: DecoderConfig,
    policy: Policy,
    *,
    length: int,
    dtype: DTypeLike | RoundingPlan,
    rows: int = 1,
    of: str = "sequences",
) -> int:
    """Resolves a budget to the capacity of every layer.

    Args:
      budget: ``256`` (tokens), ``12.5%`` (of the length, rounded down), or ``2MiB`` (of the whole
        state of one sequence; units B, KiB, MiB, GiB).
      config: The decoder's settings.
      policy: The eviction policy; ``full`` takes the whole length, whatever the budget.
      length: Tokens of the text, or of the context.
      dtype: Of keys and values, or the plan.
      rows: Sequences whose states are in memory together.
      of: Name of the sequences, for the message.

    Returns:
      Slots, checked against the policy, the decoder and the memory of this machine.

    Raises:
      BadInput: The text is not a budget, the policy needs more slots, the states do not
        fit into memory, or the decoder is not causal.
    """
    check_causal(config)
    slots, described = length, f"a full state of {length} tokens"
    if policy.bounded:
        number, unit = read_budget(budget)
        if unit == "%":
            slots = int(number * length / 100)
        elif unit:
            # One slot of the memory is for the newest token, so that the capacity is one less.
            slot = config.num_layers * _slot_bytes(config, policy, dtype)
            slots = max(number * UNITS[unit] // slot - 1, 0)
        else:
            slots = int(number)
        described = f"{budget} --slots"
        policy.check(slots)
    check_count(slots, described)
    described = described if rows == 1 else f"{rows} {of} with {described} each"
    needed = rows * state_bytes(config, policy, slots, dtype)
    fewer = "use fewer slots or tokens" + ("" if rows == 1 else f", or fewer {of}")
    check_memory(needed, described, fewer)
    return slots


@border(length=NON_NEGATIVE)
def check_context(config: DecoderConfig, policy: Policy, length: int, *, hint: str = "") -> None:
    """Validates that positions stay within the model's context.

    Args:
      config: The decoder's settings.
      policy: The eviction policy; its position ids may be compressed.
      length: Tokens of prompt and continuation.
      hint: A remedy other than fewer tokens.

    Raises:
      BadInput: More tokens than the model's context, at their original positions, or than int32
        positions count.
    """
    context = config.max_length
    if length > MOST:
        raise BadInput(f"Expected at most {MOST} tokens in all, got {length}: use fewer.")
    # Other position ids number the retained tokens anew: their positions grow with the slots.
    if context is None or length <= context or policy.position_ids != "original":
        return
    expected = f"Expected at most {context} tokens, the model's context"
    raise BadInput(f"{expected}, got {length}: use fewer{hint and f', or {hint}'}.")
