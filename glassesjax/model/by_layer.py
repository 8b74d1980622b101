"""Positions and masks that differ by layer, selected by a layer's number as the scan reaches it."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NoReturn

from glassesjax.arrays import Array, DType
from glassesjax.borders import check_fields
from glassesjax.model.config import DecoderConfig, Mask, Positions, Sinusoidal


def _check_layers(layers: Sequence[object], config: DecoderConfig) -> None:
    if len(layers) != config.num_layers:
        got = f"{len(layers)} for num_layers={config.num_layers}"
        raise ValueError(f"Expected one entry of positions or mask for each layer, got {got}.")
    if nested := [each for each in layers if isinstance(each, PositionsByLayer | MaskByLayer)]:
        raise ValueError(f"Expected what one layer has, got a {type(nested[0]).__name__} in one.")


def _of_no_layer(self: Any, *_: object, **__: object) -> NoReturn:  # noqa: ANN401
    """Raises: a scan over ``decoder.blocks``, which lack their numbers, would be another model."""
    name = type(self).__name__
    raise ValueError(f"Expected a layer of {name}, got none: scan over decoder.layers.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PositionsByLayer(Positions):
    """Positions that differ by layer: rotary bases, say, or rotation in some layers only.

    Learned vectors and those added to the embedding are of no layer, so no entry has them.
    """

    layers: tuple[Positions, ...]
    """Those of each layer, first layer first."""

    def __post_init__(self) -> None:
        check_fields(self, "PositionsByLayer")

    def check(self, config: DecoderConfig) -> None:
        _check_layers(self.layers, config)
        for each in dict.fromkeys(self.layers):
            added = isinstance(each, Sinusoidal) and each.where == "embedding"
            # Only what overrides ``embed`` adds something; the built-in one may not.
            own = type(each).embed is not Positions.embed and not isinstance(each, Sinusoidal)
            if each.table_rows or added or own:
                raise ValueError(f"Expected positions of a layer, got {each} of the embedding.")
            each.check(config)

    def in_layer(self, layer: Array | None) -> Positions:
        return self if layer is None else _OnePositions(*_selected(self.layers, layer))

    turn = bias = rotation = linear_bias = _of_no_layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskByLayer(Mask):
    """Masks that differ by layer: a window in most, all earlier tokens in the others, say."""

    layers: tuple[Mask, ...]
    """Those of each layer, first layer first."""

    def __post_init__(self) -> None:
        check_fields(self, "MaskByLayer")

    @property
    def causal(self) -> bool:  # pyrefly: ignore[bad-override]  (a constant of other masks)
        return all(each.causal for each in self.layers)

    def check(self, config: DecoderConfig) -> None:
        _check_layers(self.layers, config)
        for each in dict.fromkeys(self.layers):
            each.check(config)

    def in_layer(self, layer: Array | None) -> Mask:
        return self if layer is None else _OneMask(*_selected(self.layers, layer))

    sees = receptive_field = _of_no_layer


def masks_of(config: DecoderConfig) -> tuple[Mask, ...]:
    """The masks of a decoder's layers that differ.

    Args:
      config: Any settings.

    Returns:
      One, or each of ``MaskByLayer`` once.
    """
    mask = config.mask
    return tuple(dict.fromkeys(mask.layers)) if isinstance(mask, MaskByLayer) else (mask,)


def positions_of(config: DecoderConfig) -> tuple[tuple[Positions, ...], tuple[int, ...]]:
    """The positions of a decoder's layers that differ.

    Args:
      config: Any settings.

    Returns:
      One, or each of ``PositionsByLayer`` once; and for each layer the number of its own.
    """
    positions = config.positions
    if not isinstance(positions, PositionsByLayer):
        return (positions,), (0,) * config.num_layers
    kinds = tuple(dict.fromkeys(positions.layers))
    return kinds, tuple(kinds.index(each) for each in positions.layers)


def first_layer(config: DecoderConfig) -> DecoderConfig:
    """The settings of a decoder of the first layer alone.

    Args:
      config: Any settings.

    Returns:
      The same with ``num_layers=1``, and the positions and mask of that layer.
    """
    positions, mask = config.positions, config.mask
    positions = positions.layers[0] if isinstance(positions, PositionsByLayer) else positions
    mask = mask.layers[0] if isinstance(mask, MaskByLayer) else mask
    return dataclasses.replace(config, num_layers=1, positions=positions, mask=mask)


def _selected(layers: Sequence[Any], layer: Array) -> tuple[tuple[Any, ...], Array]:
    """The entries that differ, and the number among them of a layer's own."""
    import jax.numpy as jnp

    # Equal entries are computed once; ``layer`` may be traced, so the table is an array.
    kinds = tuple(dict.fromkeys(layers))
    return kinds, jnp.asarray([kinds.index(each) for each in layers], jnp.int32)[layer]


def _select(number: Array, values: Sequence[Array]) -> Array:
    """One of some arrays, which are all computed: for what is small beside the layer's work."""
    import jax
    import jax.numpy as jnp

    # select_n broadcasts nothing but a scalar selector.
    return jax.lax.select_n(number, *jnp.broadcast_arrays(*values))


@dataclasses.dataclass(frozen=True)
class _OnePositions(Positions):
    """The positions of one layer, whose number may be traced."""

    kinds: tuple[Positions, ...]
    number: Array

    def turn(self, x: Array, position: Array) -> Array:
        import jax

        # One branch runs, but under vmap over layers all do. Each keeps (seq, heads, head_dim).
        return jax.lax.switch(self.number, [each.turn for each in self.kinds], x, position)

    def bias(self, num_heads: int, query: Array, key: Array, dtype: DType) -> Array | None:
        import jax.numpy as jnp

        each = [kind.bias(num_heads, query, key, dtype) for kind in self.kinds]
        if all(bias is None for bias in each):
            return None
        # [#heads, query, key] of those that have one; a scalar zero broadcasts to it.
        none = jnp.zeros((), dtype)
        return _select(self.number, [none if bias is None else bias for bias in each])

    def rotation(self, length: int, head_dim: int, dtype: DType) -> Array:
        # (length or 1, head_dim, head_dim) of each, broadcast to the longest
        return _select(self.number, [kind.rotation(length, head_dim, dtype) for kind in self.kinds])

    def linear_bias(self, num_heads: int, dtype: DType) -> Array:
        return _select(self.number, [kind.linear_bias(num_heads, dtype) for kind in self.kinds])


@dataclasses.dataclass(frozen=True)
class _OneMask(Mask):
    """The mask of one layer, whose number may be traced."""

    kinds: tuple[Mask, ...]
    number: Array

    def sees(self, query: Array | int, key: Array | int) -> Array | bool:
        import jax.numpy as jnp

        # The query and key axes as they come; a kind may give a Python bool.
        return _select(self.number, [jnp.asarray(kind.sees(query, key)) for kind in self.kinds])

    def receptive_field(self, position: Array, length: int) -> tuple[Array, Array]:
        fields = [kind.receptive_field(position, length) for kind in self.kinds]
        first, last = zip(*fields, strict=True)  # pairs by kind -> kinds by end
        return _select(self.number, first), _select(self.number, last)
