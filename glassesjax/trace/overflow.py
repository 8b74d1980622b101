"""Where a pass under a rounding plan first leaves the finite numbers."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from glassesjax.borders import border
from glassesjax.model.decoder import Block, Decoder
from glassesjax.model.positions import Layout
from glassesjax.precision import RoundingPlan, Site
from glassesjax.precision.plan import DEFAULT_TILE
from glassesjax.trace.heads import Residuals, residuals

# Sites of a layer as a pass reaches them first.
_ORDER = (
    *(Site.ACTIVATIONS, Site.INPUTS, Site.OPERANDS, Site.PRODUCT_SUM, Site.STATE),
    *(Site.ATTN_INPUTS, Site.ATTN_LOGITS, Site.SOFTMAX_SUM, Site.ATTN_WEIGHTS, Site.ATTN_EXP),
    Site.RESIDUAL,
)


class Overflow(NamedTuple):
    """The first rounding site whose stored values are not all finite."""

    site: str
    """By its name in a plan."""
    layer: int | None
    """From 0; None for weights, the embedding and the output."""


@border()
def first_overflow(
    decoder: Decoder, plan: RoundingPlan, tokens: Int[Array, " seq"]
) -> Overflow | None:
    """The site at which a dense pass first stores a number that is not finite.

    The pass gives the layer, and whether it is in its attention or in its MLP. That part then runs
    again with more and more of the plan's sites, in the order in which it reaches them: the site
    with which it overflows is the answer. Of a native plan it is that of the same formats
    simulated.

    Args:
      decoder: The model as it was read, whatever its own plan.
      plan: Of the pass.
      tokens: A prompt.

    Returns:
      The site; None where the pass is finite, or is not finite without rounding either.
    """
    if not plan.sites:
        return None
    rounded = decoder.at(dataclasses.replace(plan, mode="simulated"))
    if not _finite(rounded):
        return Overflow(_weights(decoder, plan), None) if _finite(decoder) else None
    streams, y, normed = _streams(rounded, tokens)
    if not _finite(streams.resid[0]):
        return Overflow(Site.RESIDUAL, None)
    for layer, (mid, after) in enumerate(zip(streams.resid_mid, streams.resid[1:], strict=True)):
        if not (_finite(mid) and _finite(after)):
            probe = _Probe(rounded, streams.resid[layer], layer, attention=not _finite(mid))
            site = probe.first()
            return None if site is None else Overflow(site, layer)
    return Overflow(Site.OUTPUT, None) if _finite(normed) and not _finite(y) else None


def _weights(decoder: Decoder, plan: RoundingPlan) -> Site:
    """The first site of weights that are not all finite once they are stored."""
    if plan.layers or Site.LINEAR_WEIGHTS not in plan.sites:
        return Site.WEIGHTS
    kept = dataclasses.replace(plan, linear_weights=None, mode="simulated")
    alone = plan.rounded.keys() == {Site.LINEAR_WEIGHTS}
    finite = alone or _finite(decoder.at(kept))
    return Site.LINEAR_WEIGHTS if finite else Site.WEIGHTS


@jax.jit
def _streams(decoder: Decoder, tokens: Array) -> tuple[Residuals, Array, Array]:
    """Residual streams, the representations, and these before they are stored."""
    streams = residuals(decoder, tokens)
    normed = decoder.final_norm(streams.resid[-1])
    return streams, decoder.plan.store(Site.OUTPUT, normed), normed


def _finite(values: object) -> bool:
    """Whether all numbers of a pytree are finite."""
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(values))


@dataclasses.dataclass(frozen=True)
class _Probe:
    """One layer whose input is finite, and whose attention's or MLP's result is not."""

    rounded: Decoder
    resid: Float[Array, "seq model_dim"]
    layer: int
    attention: bool

    def first(self) -> Site | None:
        """The first of the plan's sites with which the part overflows."""
        plan = self._plan
        within = [site for site in _ORDER if site in plan.rounded]
        # Activations come first where queries, keys or values overflow, and in the MLP; else after
        # the attention. What is added to the stream is stored last.
        late = {Site.ACTIVATIONS, Site.RESIDUAL}
        block = self._block(self.rounded)
        if not self.attention or not _finite(_heads(block, self.resid)):
            late = {Site.RESIDUAL}
        order = sorted(within, key=lambda site: (site in late, site == Site.RESIDUAL))
        if self._overflows([]):
            return None
        return next((s for at, s in enumerate(order) if self._overflows(order[: at + 1])), None)

    def _overflows(self, sites: Sequence[Site]) -> bool:
        """Whether the part does with these sites alone, on weights that are stored already."""
        plan = self._plan
        others: dict[str, Any] = {site.value: None for site in plan.rounded if site not in sites}
        # A plan without fused attention has no tiles.
        if Site.ATTN_EXP not in sites:
            others |= {"tile": DEFAULT_TILE, "tile_order": "forward"}
        kept = dataclasses.replace(plan, **others) if sites else None
        kept = RoundingPlan.wide(plan.carrier) if kept is None else kept
        mid, after = _run(self._block(self.rounded.at(kept)), self.resid)
        return not _finite(mid if self.attention else after)

    @property
    def _plan(self) -> RoundingPlan:
        return self.rounded.plan.in_layer(self.layer)

    def _block(self, decoder: Decoder) -> Block:
        # (layers, ...) -> (...), a new module
        block = jax.tree.map(lambda weight: weight[self.layer], decoder.layers)
        block.follow(decoder.plan.in_layer(self.layer))
        return block


@jax.jit
def _heads(block: Block, resid: Array) -> tuple[Array, Array, Array]:
    return block.heads(resid, Layout.line(len(resid)))


@jax.jit
def _run(block: Block, resid: Array) -> tuple[Array, Array]:
    """The residual stream in the middle of a layer and after it."""
    after, trace = block(resid, Layout.line(len(resid)), keep="residual")
    mid: Any = trace.resid_mid  # not None with keep="residual"
    return mid, after
