"""The bound of Theorem 5.1 with one factor left out, at models in which that factor is large."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from glassesjax.model.by_layer import masks_of
from glassesjax.model.config import Causal, DecoderConfig, RMSNorm, Window
from glassesjax.trace.rollout import BlockStack
from proofs_numeric.support import families
from proofs_numeric.support.families import Arrays

# Attention that is nearly uniform, so that no path leads through its weights.
_QUERIES = ("blocks.attention.query", "blocks.attention.query_bias")
EVEN = dict.fromkeys((*_QUERIES, "blocks.attention.query_norm.gain"), 1e-4)
# An MLP that adds little, where its output has a norm and where not.
_ADDED = ("blocks.mlp.down", "blocks.mlp.down_bias", "blocks.norm2_after.gain")
QUIET = dict.fromkeys(_ADDED, 1e-2)


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A factor of the bound of Theorem 5.1."""

    name: str
    concerns: Callable[[DecoderConfig], bool]
    """Whether a model has it."""
    loud: Mapping[str, float]
    """Factors of weights that make it large."""
    reduced: Callable[[str, Arrays, BlockStack], BlockStack]
    """The same pass of a family's model without it."""


def _constants(stack: BlockStack, **fields: Any) -> BlockStack:  # noqa: ANN401
    return stack._replace(constants=stack.constants._replace(**fields))


def _heads(stack: BlockStack, **fields: Any) -> BlockStack:  # noqa: ANN401
    return stack._replace(heads=stack.heads._replace(**fields))


def _without_paths(name: str, arrays: Arrays, stack: BlockStack) -> BlockStack:
    constants = stack.constants
    none = {"query_factor": 0 * constants.query_factor, "key_factor": 0 * constants.key_factor}
    return _constants(stack, **none)


def _without_input_gain(name: str, arrays: Arrays, stack: BlockStack) -> BlockStack:
    norm = families.config_of(name).norm
    one = 1 - (norm.offset if isinstance(norm, RMSNorm) else 0.0)
    plain = {**arrays, "blocks.norm1.gain": np.full_like(arrays["blocks.norm1.gain"], one)}
    other = families.passes(name, plain).stack.constants
    fields = ("value_norms", "query_factor", "key_factor")
    return _constants(stack, **{field: getattr(other, field) for field in fields})


def _without_mlp(name: str, arrays: Arrays, stack: BlockStack) -> BlockStack:
    constants = stack.constants
    one = np.ones_like(constants.factor)
    return _constants(stack, factor=one, skip=one)


def _without_output_norm(name: str, arrays: Arrays, stack: BlockStack) -> BlockStack:
    return _constants(stack, share=np.ones_like(stack.constants.share))


def _narrower(name: str, arrays: Arrays, stack: BlockStack) -> BlockStack:
    # (batch, layers, seq): the narrowest window in all layers, or one token less.
    first, last = stack.heads.first, stack.heads.last
    narrow = np.broadcast_to(np.max(first, axis=1, keepdims=True), first.shape)
    same = len(masks_of(families.config_of(name))) == 1
    return _heads(stack, first=np.minimum(narrow + same, last).astype(first.dtype))


def _without_cap(name: str, arrays: Arrays, stack: BlockStack) -> BlockStack:
    return _heads(stack, softcap=np.full_like(stack.heads.softcap, 1e30))


_plain = lambda config: (
    (config.qk_norm, config.norm_place) == ("none", "before") and masks_of(config) == (Causal(),)
)
_windowed = lambda config: any(isinstance(mask, Window) for mask in masks_of(config))
BOUND = (
    LeftOut(
        "the path through attention's weights",
        # Elsewhere other slack is larger than this part, of these draws.
        _plain,
        QUIET | {"blocks.attention.query": 3.0},
        _without_paths,
    ),
    LeftOut(
        "gains of the norm before attention",
        lambda config: config.norm_place != "after",
        QUIET | EVEN | {"blocks.norm1.gain": 100.0},
        _without_input_gain,
    ),
    LeftOut(
        "the MLP's slope",
        lambda config: config.block == "sequential",
        EVEN | {"blocks.mlp.down": 100.0, "blocks.norm2_after.gain": 100.0},
        _without_mlp,
    ),
    LeftOut(
        "the second summand of a parallel block",
        lambda config: config.block == "parallel",
        EVEN | {"blocks.mlp.down": 100.0},
        _without_mlp,
    ),
    LeftOut(
        "the norm of attention's output",
        lambda config: config.norm_place != "before",
        QUIET | EVEN | {"blocks.norm1_after.gain": 100.0},
        _without_output_norm,
    ),
    LeftOut("a token of a window", _windowed, EVEN, _narrower),
    LeftOut(
        "the cap of logits",
        lambda config: config.attn_softcap is not None,
        QUIET | {"blocks.attention.query": 30.0},
        _without_cap,
    ),
)


def cases(name: str) -> Iterator[tuple[LeftOut, BlockStack, BlockStack, np.ndarray]]:
    """Each factor that a family's model has, in two batches of draws.

    Args:
      name: A family.

    Yields:
      The factor, the pass with it and without it, and the derivative's norms [batch, seq].
    """
    config = families.config_of(name)
    for factor in BOUND:
        if not factor.concerns(config):
            continue
        for start in (0, families.BATCH):
            seeds = range(start, start + families.BATCH)
            drawn = [families.draw(name, seed) for seed in seeds]
            loud = [families.scaled(name, each, factor.loud) for each in drawn]
            arrays = families.together(loud)
            found = families.passes(name, arrays)
            less = factor.reduced(name, arrays, found.stack)
            yield factor, found.stack, less, families.sensitivities(np.asarray(found.jacobian))
