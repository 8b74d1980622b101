"""What one family of models is: a row of the table."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from glassesjax.model.config import DecoderConfig
from glassesjax.model.families.keys import Keys

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How a weight of ours is laid out in the tensors of a file."""

    shapes: Callable[[Shape, DecoderConfig], tuple[Shape, ...]]
    """Shapes of the file's tensors of one layer, from the shape of ours."""
    take: Callable[[list[np.ndarray], DecoderConfig, int], np.ndarray]
    """The weight's numbers, in our order though perhaps in more axes, from these tensors and the
    number of the layer. A view where no arithmetic is needed."""
    computes: bool = False
    """Whether the numbers are others than the file's, so that 16 bits would round them."""


PLAIN = Layout(shapes=lambda shape, config: (shape,), take=lambda files, config, layer: files[0])


class Source(NamedTuple):
    """Where a weight of ours lies in a file."""

    names: tuple[str, ...]
    """The file's tensors, with ``{}`` for the layer's number, and ``|`` between names of one."""
    layout: Layout = PLAIN


class Reading(NamedTuple):
    """What a family's configuration says."""

    settings: dict[str, Any]
    """Fields of ``DecoderConfig``."""
    sources: Mapping[str, Source]
    """By our name without an axis of layers, such as ``blocks.attention.query``."""
    zeros: frozenset[str] = frozenset()
    """Our names of biases that this model does not have, where others of its kind are there."""
    notes: tuple[str, ...] = ()
    """What was chosen at opening, for rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """A row of the table: a kind of model by the ``model_type`` of its configuration."""

    title: str
    """For people."""
    architectures: tuple[str, ...]
    """Names of classes that are this decoder; others add or remove a part."""
    read: Callable[[Keys], Reading]
    """Settings and sources from the configuration."""
    prefix: str
    """Begin of names that some files leave out."""
    buffers: tuple[str, ...] = ()
    """Ends of names of tensors that are no weights: masks and frequencies, made anew here."""
    unembedding: str = "lm_head.weight"
    """The file's name of the unembedding, which some tied models store a second time."""


def sources(names: Mapping[str, str], layout: Layout = PLAIN) -> dict[str, Source]:
    """Sources of weights that have one tensor each.

    Args:
      names: The file's name by ours.
      layout: Of all of them.
    """
    return {ours: Source((name,), layout) for ours, name in names.items()}
