"""The decoder: tokens to the last representations, with what each layer computed on the way."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from glassesjax import draws
from glassesjax.borders import border, require
from glassesjax.model.attention import Attention
from glassesjax.model.by_layer import MaskByLayer, PositionsByLayer
from glassesjax.model.config import DecoderConfig, NoNorm
from glassesjax.model.layer_scan import scan_layers
from glassesjax.model.layers import (
    MlpBlock,
    Normalize,
    Rounding,
    normal,
    present,
    product,
    softcap,
)
from glassesjax.model.positions import Layout
from glassesjax.model.vocabulary import checked_tokens
from glassesjax.precision import RoundingPlan, Site

Keep = Literal["nothing", "residual", "attention"]


class Trace(NamedTuple):
    """What the layers computed for one sequence, first layer first; None where not kept."""

    resid: Float[Array, "layers seq model_dim"] | None
    """Residual stream as each layer receives it."""
    resid_mid: Float[Array, "layers seq model_dim"] | None
    """Residual stream after each layer's attention."""
    attn_logits: Float[Array, "layers heads seq seq"] | None
    """Scores as the softmax gets them, temperature included; -inf where the mask forbids."""
    attn_weights: Float[Array, "layers heads seq seq"] | None
    """Softmax of the scores."""
    attn_out: Float[Array, "layers seq model_dim"] | None = None
    """Attention's output before its own norm; None where that has none (``norm_place``)."""


class Embedding(nnx.Module):
    """The table of token vectors, and of position vectors where they are learned."""

    def __init__(self, config: DecoderConfig, *, key: Array, dtype: jnp.dtype) -> None:
        token_key, position_key = draws.split(key)
        self.table = normal(token_key, config.vocab_size, config.model_dim, dtype)
        rows = config.positions.table_rows
        make = lambda: normal(position_key, rows, config.model_dim, dtype)
        self.positions = present(rows > 0, make)


class Block(Rounding):
    """One layer: attention and MLP around the residual stream."""

    def __init__(self, config: DecoderConfig, *, key: Array, dtype: jnp.dtype) -> None:
        super().__init__()
        self.config = config
        attention_key, mlp_key = draws.split(key)
        # A norm that is absent is the identity: it has no weights, and rounds nothing.
        before = config.norm if config.norm_place != "after" else NoNorm()
        after = config.norm if config.norm_place != "before" else NoNorm()
        make = functools.partial(Normalize, width=config.model_dim, dtype=dtype)
        self.norm1, self.norm1_after = make(before), make(after)
        self.attention = Attention(config, key=attention_key, dtype=dtype)
        self.norm2, self.norm2_after = make(before), make(after)
        self.mlp = MlpBlock(config, key=mlp_key, dtype=dtype)

    def __call__(
        self,
        resid: Float[Array, "seq model_dim"],
        layout: Layout,
        *,
        keep: Keep = "nothing",
        freeze_attention: bool = False,
    ) -> tuple[Float[Array, "seq model_dim"], Trace]:
        """The residual stream after this layer, and this layer's part of the trace."""
        attention, attended = self.attention(
            self._attended(resid), layout, keep=keep == "attention", freeze=freeze_attention
        )
        after, resid_mid = self._add(resid, attention)
        # One layer's part has no axis of layers; the decoder's scan stacks them.
        kept = (None, None) if keep == "nothing" else (resid, resid_mid)
        attn_out = None
        if keep != "nothing" and self.config.norm_place != "before":
            attn_out = self.plan_of(resid).store(Site.ACTIVATIONS, attention)
        return after, Trace(*kept, *(attended or (None, None)), attn_out)

    def heads(
        self,
        resid: Float[Array, "seq model_dim"],
        layout: Layout,
        *,
        last: int | None = None,
        state: bool = True,
    ) -> tuple[
        Float[Array, "query heads key_dim"],
        Float[Array, "seq kv_heads key_dim"],
        Float[Array, "seq kv_heads value_dim"],
    ]:
        """The layer up to its attention: queries of the last rows, or of all; keys and values.

        See ``Attention.heads``.
        """
        return self.attention.heads(self._attended(resid), layout, last=last, state=state)

    def projected(
        self, resid: Float[Array, "seq model_dim"]
    ) -> tuple[Float[Array, "seq heads key_dim"], Float[Array, "seq kv_heads key_dim"]]:
        """The layer up to its queries and keys, without their norm and positions."""
        return self.attention.projected(self._attended(resid), len(resid))

    def rest(
        self, resid: Float[Array, "query model_dim"], joined: Float[Array, "query joined"]
    ) -> Float[Array, "query model_dim"]:
        """The layer from what its heads averaged on, for the same rows of the residual stream."""
        return self._add(resid, self.attention.output_of(joined))[0]

    def _attended(self, resid: Array) -> Float[Array, "seq model_dim"]:
        """What attention reads of the residual stream."""
        return self.plan_of(resid).store(Site.ACTIVATIONS, self.norm1(resid))

    def _add(self, resid: Array, attention: Array) -> tuple[Array, Array]:
        """The residual stream after the layer and in its middle."""
        plan = self.plan_of(resid)
        carrier, store = plan.carrier_dtype, functools.partial(plan.store, Site.ACTIVATIONS)
        normed = self.config.norm_place != "before"
        # An output that has its own norm is stored before it and after it.
        finish = lambda norm, x: store(norm(store(x))) if normed else store(x)
        # Sums are taken in the carrier and rounded once, when the stream is stored.
        before = resid.astype(carrier)
        attention = finish(self.norm1_after, attention).astype(carrier)
        if (share := self.config.residual_weight) is None:
            resid_mid = before + attention
        else:
            share = jnp.asarray(share, carrier)
            resid_mid = (1 - share) * before + share * attention
        resid_mid = plan.store(Site.RESIDUAL, resid_mid)
        source = resid if self.config.block == "parallel" else resid_mid
        update = finish(self.norm2_after, self.mlp(store(self.norm2(source)))).astype(carrier)
        return plan.store(Site.RESIDUAL, resid_mid.astype(carrier) + update), resid_mid


class Decoder(Rounding):
    """A decoder-only Transformer for one sequence; map over a batch with ``jax.vmap``.

    It is a pytree of its weights, so that ``jax.jit``, ``jax.grad`` and ``jax.tree.map`` take it
    as it is. Layers are stacked on a leading axis and run by a scan. With one head, identity
    values, a constant or true norm and causal mask it is the model of arXiv 2406.04267v2, section
    2, with ``norm1(v_j)`` where the paper prints ``norm1(v_i)``.

    Args:
      config: Sizes and switches.
      key: Seed of the weights: matrices are normal with variance one over their input width,
        gains one, biases zero. Use the key of ``draws.root_key``, or one of an implementation
        that you name: JAX's default is a setting of each process.
      dtype: Type of the weights; float64 needs 64-bit types switched on.
    """

    def __init__(
        self, config: DecoderConfig, *, key: Array, dtype: DTypeLike = jnp.float32
    ) -> None:
        super().__init__()
        dtype = jnp.dtype(dtype)
        self.config = config
        embed_key, blocks_key, unembed_key = draws.split(key, 3)
        self.embed = Embedding(config, key=embed_key, dtype=dtype)
        keys = draws.split(blocks_key, config.num_layers)
        # Stacked one by one: a vmap would compile its own random numbers for every configuration.
        # Each weight becomes (layers, *shape), which the scan over layers takes apart.
        blocks = [Block(config, key=key, dtype=dtype) for key in keys]
        self.blocks = jax.tree.map(lambda *weights: jnp.stack(weights), *blocks)
        self.final_norm = Normalize(config.norm, width=config.model_dim, dtype=dtype)
        self.unembed = present(
            not config.tied,
            lambda: normal(unembed_key, config.vocab_size, config.model_dim, dtype),
        )

    @property
    def dtype(self) -> jnp.dtype:
        """Type of the weights."""
        return self.embed.table[...].dtype

    @property
    def plan(self) -> RoundingPlan:
        """Where the decoder rounds; without a plan, what its weights' own dtype does."""
        return self.plan_of(self.embed.table[...])

    @property
    def layers(self) -> Block:
        """``blocks`` to scan over: with the number of each where positions or masks differ."""
        config = self.config
        if not isinstance(config.positions, PositionsByLayer) and not isinstance(
            config.mask, MaskByLayer
        ):
            return self.blocks
        layers = jax.tree.map(lambda weight: weight, self.blocks)  # a copy, not its weights
        layers.attention.layer = jnp.arange(config.num_layers, dtype=jnp.int32)
        return layers

    @border()
    def at(self, plan: RoundingPlan | None) -> "Decoder":
        """The same decoder under a rounding plan: it stores its weights, and follows it in a pass.

        Args:
          plan: Where to round, and to what; None for no rounding but that of the weights' dtype.

        Returns:
          A decoder that carries the plan (``decoder.plan``). Weights that the plan leaves as they
          are stored are shared with this one, not copied; those that it rounds are those of this
          decoder, which an earlier plan may have rounded already. The plan does not look at later
          changes: it stays on a decoder whose weights you move, by ``jax.tree.map`` or an optimizer
          of your own. Training here takes it off, and ``save_decoder`` refuses weights that are not
          values of its format. A format with a scale (int8) takes one scale for each layer's
          matrix, never one across layers.

        Raises:
          BadInput: The plan has another number of layers.
        """
        if plan is not None and plan.layers:
            count = self.config.num_layers
            require(len(plan.layers) == count, f"{count} plans of layers", len(plan.layers))

        def store(path: tuple, weight: Array) -> Array:
            if plan is None:
                return weight
            stacked = path[0].name == "blocks"
            # What a norm or a bias adds and multiplies by is no matrix of a linear layer.
            linear = stacked and weight.ndim == 3
            plans = plan.layers if stacked and plan.layers else (plan,)
            kept = not any(map(functools.partial(_rounds, linear=linear), plans))
            if kept and weight.dtype == plan.weights_dtype:
                return weight  # shared, not copied
            if len(plans) == 1:
                return _stored(weight, plan, stacked, linear)
            # vmap over an axis of one layer, whose plan is its own
            each = zip(weight[:, None], plans, strict=True)
            return jnp.concatenate([_stored(one, own, True, linear) for one, own in each])

        decoder = jax.tree_util.tree_map_with_path(store, self)
        # The map makes new modules, so setting their plan leaves this decoder as it is.
        decoder.follow(plan)
        return decoder

    @border()
    def enter(
        self,
        tokens: Int[Array, " seq"],
        layout: Layout | None = None,
    ) -> Float[Array, "seq model_dim"]:
        """The residual stream as it enters the first layer.

        Args:
          tokens: Token numbers.
          layout: Position of each token; one ordinary sequence if absent.

        Returns:
          Embeddings, with position vectors where the configuration adds them. A position that has
          no row in its table, also a negative one, gives a row of NaN; so does a token, where
          tokens are traced and cannot be refused. The first attention layer then makes rows before
          it NaN as well, as a weight of zero times NaN is NaN: no row of such a pass is meaningful.
          A cache that read earlier tokens in an earlier call is NaN only from this call on.

        Raises:
          ValueError: No token, one that is not in the vocabulary, or not one axis of integers;
            without a layout, more tokens than there are learned positions; or the weights are of
            another dtype than the plan stores them in.
        """
        require(len(tokens) > 0, "one token or more", "none", "give some")
        tokens = checked_tokens(tokens, self.config.vocab_size)
        rows = self.config.positions.table_rows
        if layout is None and rows and len(tokens) > rows:
            wanted = f"Expected at most {rows} tokens, one per learned position"
            raise ValueError(f"{wanted}, got {len(tokens)}: shorten the sequence.")
        layout, plan = layout or Layout.line(len(tokens)), self._checked_plan()
        carrier = plan.carrier_dtype
        # A decoder that runs in a wider carrier than its table is stored in widens row by row.
        resid = _rows(self.embed.table[...], tokens).astype(carrier)
        resid = resid * jnp.asarray(self.config.embed_scale, carrier)
        if self.embed.positions is not None:
            resid = resid + _rows(self.embed.positions[...], layout.position).astype(carrier)
        added = self.config.positions.embed(layout.position, self.config.model_dim, carrier)
        resid = resid if added is None else resid + added
        return plan.store(Site.RESIDUAL, resid)

    @border()
    def represent(
        self,
        resid: Float[Array, "seq model_dim"],
        layout: Layout | None = None,
        *,
        start: int = 0,
        keep: Keep = "nothing",
        freeze_attention: bool = False,
        until: Int[Array, "layers seq groups"] | None = None,
    ) -> tuple[Float[Array, "seq model_dim"], Trace]:
        """Last representations from a residual stream; Jacobians start here.

        Source: arXiv 2406.04267v2, section 2.
        Differs: several heads, value and output matrices, and the other switches; the attention
        sum runs over ``norm1(v_j)``, not over ``norm1(v_i)`` as printed.

        Args:
          resid: Residual stream that enters layer ``start``.
          layout: Position of each row; one ordinary sequence if absent.
          start: First layer to run, from 0; ``num_layers`` runs the final norm only.
          keep: What the trace holds. Attention of all layers takes layers x heads x seq^2 numbers.
          freeze_attention: Stops gradients through the attention weights, the hypothesis of
            Theorem 5.1.
          until: ``Layout.until`` of each layer, by which a bounded state evicts tokens; the
            layout's own in all layers if absent.

        Returns:
          One representation per row, after the final norm, and the trace of the layers that ran.

        Raises:
          ValueError: The weights or the residual stream are of another dtype than the plan's.
        """
        self._check_width("resid", resid)
        layout, plan = layout or Layout.line(len(resid)), self._checked_plan()
        if resid.dtype != plan.dtype:
            wanted = f"Expected a residual stream of {plan.dtype}"
            raise ValueError(f"{wanted}, got {resid.dtype}: use resid.astype(decoder.plan.dtype).")

        def run(resid: Array, layer: tuple[Block, Array | None]) -> tuple[Array, Trace]:
            block, gone = layer
            own = layout if gone is None else layout._replace(until=gone)
            return block(resid, own, keep=keep, freeze_attention=freeze_attention)

        # Weights and ``until`` lose their axis of layers; what each layer keeps gains it.
        resid, trace = scan_layers(run, resid, (self.layers, until), start=start)
        return plan.store(Site.OUTPUT, self.final_norm(resid)), trace

    @border()
    def __call__(
        self,
        tokens: Int[Array, " seq"],
        layout: Layout | None = None,
        *,
        keep: Keep = "nothing",
        freeze_attention: bool = False,
    ) -> tuple[Float[Array, "seq model_dim"], Trace]:
        """Last representations of a sequence of tokens, and the trace; see ``represent``."""
        resid = self.enter(tokens, layout)
        return self.represent(resid, layout, keep=keep, freeze_attention=freeze_attention)

    @border()
    def logits(self, y: Float[Array, "seq model_dim"]) -> Float[Array, "seq vocab"]:
        """Scores over the vocabulary in the plan's carrier, soft-capped where configured.

        Args:
          y: Last representations.

        Returns:
          One row of scores per representation, not rounded to a format.
        """
        self._check_width("y", y)
        scores = product("td,vd->tv", y, self.unembedding, self._checked_plan())  # v: vocabulary
        cap = self.config.output_softcap
        return scores if cap is None else softcap(scores, cap)

    @property
    def unembedding(self) -> Float[Array, "vocab model_dim"]:
        """One row per token; the embedding table where the two are tied."""
        return (self.embed.table if self.config.tied else self.unembed)[...]

    def _check_width(self, name: str, rows: Array) -> None:
        width = self.config.model_dim
        wanted = f"{name} of width {width}, the decoder's"
        require(rows.shape[-1] == width, wanted, rows.shape[-1], "use this decoder's own")

    def _checked_plan(self) -> RoundingPlan:
        plan = self.plan
        if self.dtype != plan.weights_dtype:
            wanted = f"Expected weights of {plan.weights_dtype}, as plan {plan.name} stores them"
            raise ValueError(f"{wanted}, got {self.dtype}: convert them by decoder.at(plan).")
        return plan


def _rounds(plan: RoundingPlan, linear: bool) -> bool:
    """Whether a simulated plan rounds such a weight."""
    formats = (plan.weights, plan.linear_weights if linear else None)
    return plan.mode == "simulated" and any(fmt is not None for fmt in formats)


@functools.partial(jax.jit, static_argnames=("plan", "stacked", "linear"))
def _stored(weight: Array, plan: RoundingPlan, stacked: bool, linear: bool) -> Array:
    """A weight as the plan stores it, of stacked layers each by itself."""

    def store(weight: Array) -> Array:
        weight = plan.store(Site.WEIGHTS, weight)
        matrix = linear and plan.linear_weights is not None
        return plan.store(Site.LINEAR_WEIGHTS, weight) if matrix else weight

    # Over the axis of layers: a format with a scale (int8) has one for each layer's matrix.
    return jax.vmap(store)(weight) if stacked else store(weight)


def _rows(table: Float[Array, "rows model_dim"], index: Int[Array, " seq"]) -> Array:
    """Rows of a table. JAX would clamp or wrap a wrong number: a neighbor's row, twice."""
    return table.at[index].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
