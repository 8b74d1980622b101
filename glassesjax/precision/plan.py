"""Where a model rounds: a value that names a format for each site, and the arithmetic between."""

import dataclasses
import enum
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

from glassesjax.arrays import Array, DType, DTypeLike, Float
from glassesjax.borders import border, check_fields
from glassesjax.precision.formats import BF16, F16, F32, F64, FloatFormat
from glassesjax.precision.scaled import NumberFormat, ScaledFormat
from glassesjax.precision.sums import Accumulator


class Site(enum.StrEnum):
    """A rounding site, by the name of its field in a plan.

    The first seven are what every model stores (``STORED``). The others are how kernels get
    there: what products read, the order of the softmax, and sums.
    """

    WEIGHTS = "weights"
    RESIDUAL = "residual"
    ACTIVATIONS = "activations"
    STATE = "state"
    ATTN_LOGITS = "attn_logits"
    ATTN_WEIGHTS = "attn_weights"
    OUTPUT = "output"
    LINEAR_WEIGHTS = "linear_weights"
    INPUTS = "inputs"
    OPERANDS = "operands"
    ATTN_INPUTS = "attn_inputs"
    ATTN_EXP = "attn_exp"
    PRODUCT_SUM = "product_sum"
    SOFTMAX_SUM = "softmax_sum"


STORED = tuple(Site)[:7]
"""The sites that a plan of one format rounds: everything that a model stores."""

SUMS = (Site.PRODUCT_SUM, Site.SOFTMAX_SUM)
"""The sites that have an accumulator in place of a format."""

WEIGHT_SITES = (Site.WEIGHTS, Site.LINEAR_WEIGHTS)
"""The sites of a decoder's own arrays, which are rounded once, before any pass."""

DEFAULT_TILE = 128  # keys; the usual size of fused kernels

Mode = Literal["wide", "native", "simulated"]
TileOrder = Literal["forward", "reverse"]

_COMPUTED = (F64, F32, BF16, F16)  # the others are for storage: no backend has all operations


def _require(holds: bool, wanted: str, found: str) -> None:
    if not holds:
        raise ValueError(f"{wanted}, got {found}.")


def _join(formats: Iterable[NumberFormat | Accumulator]) -> str:
    return ", ".join(fmt.name for fmt in formats) or "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundingPlan:
    """In which format a model stores what it computes, site by site.

    There are three modes. *Wide*: nothing is rounded, all is stored in the carrier. *Simulated*:
    values stay in the carrier, and ``store`` rounds them to the numbers of the site's format,
    whatever the backend. *Native*: values are arrays of the format's own dtype, and what happens
    between two stores is up to the backend, which may leave out roundings. A native plan has one
    format for all sites, or one for the weights alone: these are then stored narrow and widened to
    the carrier where they are used, one layer at a time, with the results of a simulated plan that
    rounds weights alone.

    Between two stores all arithmetic is in the carrier, sums too where no accumulator is named: so
    is it in hardware that accumulates products of 16-bit numbers in float32.

    The softmax has two orders. *Normalized*: the weights are divided by their sum and then stored
    (``attn_weights``), which fused kernels do not do. *Fused*, where ``attn_exp`` has a format: the
    exponentials are stored, over tiles of keys with a running maximum, and the average is divided
    by their sum at the end, as fused kernels do (FlashAttention-2, arXiv 2307.08691, section 3.1).
    The sum is of exponentials before they are stored, as there. Where slots of a cache are in no
    order, its tiles are not in the order of positions.
    """

    weights: NumberFormat | None = None
    """Parameters, once, before the pass."""
    residual: NumberFormat | None = None
    """The residual stream: the embedding, and each time that something is added to it."""
    activations: NumberFormat | None = None
    """Every other intermediate that is stored: normalized input, queries, keys, values, head
    outputs, attention output, hidden layer and output of the MLP."""
    state: NumberFormat | None = None
    """What a cache keeps of a token: its key, rotated, and its value, after ``activations``. Where
    the two formats are the same they are rounded once."""
    attn_logits: NumberFormat | None = None
    """Scaled products of queries and keys, with positional terms."""
    attn_weights: NumberFormat | None = None
    """The softmax of the logits. No kernel stores it; see ``attn_exp`` for what kernels do."""
    output: NumberFormat | None = None
    """The last representation, after the final norm."""
    linear_weights: NumberFormat | None = None
    """Matrices of attention and MLP, after ``weights``: not the embedding, the unembedding, gains
    and biases, which quantized models leave wide."""
    inputs: NumberFormat | None = None
    """Rows as a linear layer of attention or MLP reads them, after ``activations``."""
    operands: FloatFormat | None = None
    """Both operands of every product, that with the unembedding too, and nothing else: TF32 and
    its kin."""
    attn_inputs: NumberFormat | None = None
    """Queries, keys and values as the products of attention read them, after ``state``; a scale
    by row is one for each token and head."""
    attn_exp: NumberFormat | None = None
    """Exponentials of the logits less the running maximum, in [0, 1], before their division by the
    sum; with a fixed scale S it is S times them that is stored. In place of ``attn_weights``."""
    product_sum: Accumulator | None = None
    """Sums of every product. In the fused order each tile has its own sum, from zero, which is then
    added to the running average, rounded before and after."""
    softmax_sum: Accumulator | None = None
    """The sum of the exponentials."""
    tile: int = DEFAULT_TILE
    """Keys of a tile of the fused order, from 1; 0: all keys are one. 128 is the usual size of
    kernels."""
    tile_order: TileOrder = "forward"
    """Whether the first or the last tile of keys is read first."""
    layers: "tuple[RoundingPlan, ...]" = ()
    """A plan for each layer, where they differ; the plan's own sites are then those outside of the
    layers: embedding, final norm, unembedding. See ``by_layer``."""
    mode: Mode = "wide"
    carrier: FloatFormat = F32
    """Format of the arithmetic between two roundings: F32 or F64."""

    def __post_init__(self) -> None:
        check_fields(self)
        _require(self.carrier in (F32, F64), "The carrier must be F32 or F64", self.carrier.name)
        sums = [how.fmt for how in self.sums.values()]
        for fmt in (*self.formats.values(), *sums):
            wanted = f"The carrier {self.carrier.name} must contain each format"
            _require(self.carrier.contains(fmt.min_carrier), wanted, fmt.name)
        _require(self.tile >= 0, "A tile has one key or more, or is 0 for all", str(self.tile))
        wanted = "Attention stores its weights before (attn_exp) or after their division"
        _require(self.attn_exp is None or self.attn_weights is None, wanted, "attn_weights too")
        tiled = (self.tile, self.tile_order) != (DEFAULT_TILE, "forward")
        wanted = "Tiles are of plans with a format for attn_exp"
        _require(self.attn_exp is not None or not tiled, wanted, f"tile={self.tile} without")
        if self.layers:
            alike = all(each.carrier == self.carrier and not each.layers for each in self.layers)
            wanted = f"Plans of layers must have the carrier {self.carrier.name} and no layers"
            _require(alike, wanted, ", ".join(each.carrier.name for each in self.layers))
            native = "native" in {self.mode, *(each.mode for each in self.layers)}
            _require(not native, "Plans of layers must be simulated or wide", "a native one")
        match self.mode:
            case "wide":
                wanted = "A wide plan rounds nowhere (mode='simulated' does)"
                _require(not self.rounded, wanted, f"formats for {', '.join(self.rounded)}")
            case "simulated":
                wanted = "A simulated plan needs a format for some site (mode='wide' has none)"
                _require(bool(self.rounded or self.layers), wanted, "none")
            case "native":
                formats, got = set(self.formats.values()), _join(self.rounded.values())
                narrow = self.rounded.keys() == {Site.WEIGHTS}
                uniform = len(formats) == 1 and self.rounded.keys() == set(STORED)
                wanted = (
                    "A native plan needs one format, the same at all sites or for weights alone"
                )
                _require(uniform or narrow, wanted, got)
                (fmt,) = formats
                wanted = f"Native arithmetic is for {_join(_COMPUTED)} (mode='simulated' for all)"
                _require(fmt in _COMPUTED, wanted, fmt.name)
                # What accelerators do: 16-bit products are summed in float32.
                carrier = F64 if fmt == F64 else F32
                wanted = f"Native {fmt.name} accumulates in {carrier.name} on hardware"
                _require(narrow or self.carrier == carrier, wanted, f"carrier={self.carrier.name}")

    @classmethod
    @border()
    def wide(cls, carrier: FloatFormat = F32) -> "RoundingPlan":
        """The plan that rounds nowhere.

        Args:
          carrier: F32 or F64, in which all is computed and stored.

        Returns:
          The plan.
        """
        return cls(mode="wide", carrier=carrier)

    @classmethod
    @border()
    def everywhere(
        cls, fmt: NumberFormat, mode: Mode = "simulated", carrier: FloatFormat | None = None
    ) -> "RoundingPlan":
        """The plan with one format at all sites.

        Args:
          fmt: The format.
          mode: Simulated or native.
          carrier: F32 or F64, containing the format; the narrower that does, if absent.

        Returns:
          The plan.
        """
        sites: dict[str, Any] = {site.value: fmt for site in STORED}
        return cls(**sites, mode=mode, carrier=fmt.min_carrier if carrier is None else carrier)

    @classmethod
    @border()
    def by_layer(
        cls,
        plan_of_layer: "Callable[[int], RoundingPlan]",
        num_layers: int,
        outside: "RoundingPlan | None" = None,
    ) -> "RoundingPlan":
        """A plan whose layers differ.

        Args:
          plan_of_layer: The plan of each layer, by its number from 0.
          num_layers: Of the decoder.
          outside: The plan of embedding, final norm and unembedding; nothing is rounded there if
            absent.

        Returns:
          The plan; ``print(plan.table())`` shows it.

        Raises:
          ValueError: The plans have different carriers, or one is native.
        """
        layers = tuple(map(plan_of_layer, range(num_layers)))
        _require(num_layers > 0, "A plan by layer needs one layer or more", str(num_layers))
        outside = cls.wide(layers[0].carrier) if outside is None else outside
        return dataclasses.replace(outside, layers=layers, mode="simulated")

    def in_layer(self, layer: int) -> "RoundingPlan":
        """The plan of a layer, from 0."""
        return self.layers[layer] if self.layers else self

    def table(self) -> str:
        """The plan as text: a line for each site with a format, a column for each run of layers."""
        from glassesjax.precision.plan_table import plan_table

        return plan_table(self)

    @classmethod
    def of_dtype(cls, dtype: DTypeLike) -> "RoundingPlan":
        """No rounding but the dtype's own; sums of 16-bit types run in float32.

        Args:
          dtype: float64, float32, bfloat16 or float16.

        Returns:
          The plan that a model with such weights follows by default.

        Raises:
          ValueError: Another dtype.
        """
        import jax.numpy as jnp

        by_name = {jnp.dtype(fmt.dtype).name: fmt for fmt in _COMPUTED}
        name = jnp.dtype(dtype).name
        _require(name in by_name, f"A dtype is one of {', '.join(by_name)}", name)
        fmt = by_name[name]
        # 16-bit types are stored after each operation, which is the native mode.
        return cls.wide(fmt) if fmt in (F32, F64) else cls.everywhere(fmt, mode="native")

    @property
    def formats(self) -> dict[Site, NumberFormat]:
        """The sites that have a format, in order; without those of differing layers."""
        every = {site: getattr(self, site) for site in Site if site not in SUMS}
        return {site: fmt for site, fmt in every.items() if fmt is not None}

    @property
    def sums(self) -> dict[Site, Accumulator]:
        """The sums that have an accumulator; without those of differing layers."""
        every = {site: getattr(self, site) for site in SUMS}
        return {site: how for site, how in every.items() if how is not None}

    @property
    def rounded(self) -> dict[Site, NumberFormat | Accumulator]:
        """All sites that round: those with a format, then those with an accumulator."""
        return {**self.formats, **self.sums}

    @property
    def sites(self) -> frozenset[Site]:
        """The sites that have a format here or in a layer."""
        return frozenset().union(self.rounded, *(each.rounded for each in self.layers))

    @property
    def rounds_in_pass(self) -> bool:
        """Whether a pass rounds anything but the weights, which are rounded before it."""
        return self.mode != "native" and bool(self.sites.difference(WEIGHT_SITES))

    @property
    def rounds_attention(self) -> bool:
        """Whether anything is rounded between queries, keys and values and the average of them."""
        within = {Site.ATTN_LOGITS, Site.ATTN_WEIGHTS, Site.ATTN_INPUTS, Site.ATTN_EXP}
        within |= {Site.OPERANDS, Site.PRODUCT_SUM, Site.SOFTMAX_SUM}
        return self.mode == "simulated" and bool(within & self.rounded.keys())

    @property
    def row_wise(self) -> bool:
        """Whether what is stored of one token depends on that token's row alone.

        A format whose scales several rows share lets later tokens move the rounding of earlier
        ones: rows are then not causal. Weights do not count, for they are no token's.
        """
        on_rows = [
            fmt
            for plan in (self, *self.layers)
            for site, fmt in plan.formats.items()
            if site not in WEIGHT_SITES
        ]
        return all(fmt.row_wise for fmt in on_rows if isinstance(fmt, ScaledFormat))

    @property
    def dtype(self) -> DType:
        """The dtype in which activations are stored."""
        return self.dtype_at(Site.RESIDUAL)

    @property
    def weights_dtype(self) -> DType:
        """The dtype in which weights are stored."""
        return self.dtype_at(Site.WEIGHTS)

    def dtype_at(self, site: Site) -> DType:
        """The dtype of what is stored at a site: the carrier's, but of a native format its own."""
        fmt = getattr(self, site) if self.mode == "native" else None
        return cast("DType", cast("FloatFormat", fmt or self.carrier).dtype)

    @property
    def carrier_dtype(self) -> DType:
        """The dtype of arithmetic between two roundings."""
        return cast("DType", self.carrier.dtype)

    @property
    def name(self) -> str:
        """A short description, different for different plans."""
        if self.mode == "wide":
            return f"wide {self.carrier.name}"
        if self.layers:
            own = dataclasses.replace(self, layers=(), mode="simulated" if self.rounded else "wide")
            runs = itertools.groupby(enumerate(self.layers), lambda numbered: numbered[1])
            each = [f"{next(run)[0]}: {plan.name}" for plan, run in runs]
            return f"{own.name}; from layer {', '.join(each)}"
        formats, carrier = set(self.rounded.values()), ""
        if self.mode == "simulated" and self.carrier == F64:
            carrier = " in f64"
        if self.rounded.keys() == set(STORED) and len(formats) == 1:
            return f"{self.mode} {formats.pop().name} everywhere{carrier}"
        if self.mode == "native":
            carrier = f" in {self.carrier.name}"
        sites = ", ".join(
            f"{fmt.name} {site}{self._option(site)}" for site, fmt in self.rounded.items()
        )
        return f"{self.mode} {sites}{carrier}"

    def _option(self, site: Site) -> str:
        """What else the plan says of a site, where it is not the default."""
        if site != Site.ATTN_EXP:
            return ""
        order = "reverse" if self.tile_order == "reverse" else ""
        size = "" if self.tile == DEFAULT_TILE else str(self.tile)
        return f":{order}{size}" if order or size else ""

    def as_record(self) -> dict[str, str]:
        """Mode, carrier and the format of each rounded site, by name, for rows of results.

        A plan by layer has the formats outside of its layers here; ``name`` has all.
        """
        formats = {site.value: fmt.name + self._option(site) for site, fmt in self.rounded.items()}
        return {"mode": self.mode, "carrier": self.carrier.name} | formats

    def store(self, site: Site, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """What is left of a value once it is stored.

        A value that comes in another dtype is first converted to the site's, so float64 weights
        in a float32 carrier are rounded twice: give them in the carrier where that matters.
        Simulated rounding lets derivatives pass unchanged; a native conversion rounds them.

        Args:
          site: Where it is stored.
          x: The computed value.

        Returns:
          The stored value, of dtype ``plan.dtype_at(site)``.

        Raises:
          ValueError: There is no such site, or the plan needs float64 and JAX has it disabled.
        """
        import jax

        _require(site in tuple(Site), f"A rounding site is one of {', '.join(Site)}", repr(site))
        dtype = self.dtype_at(site)
        # Else JAX makes float32 of float64 without an error.
        enabled = jax.dtypes.canonicalize_dtype(dtype) == dtype
        _require(enabled, f"The plan {self.name} needs jax_enable_x64", "float32 only")
        # A native conversion rounds by itself; a simulated one is exact, and round follows.
        x, fmt = x.astype(dtype), getattr(self, site)
        return x if self.mode == "native" or fmt is None else fmt.round(x)

    def store_state(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """What a cache keeps of a rotated key or a value that is stored as an activation."""
        return x if self.state == self.activations else self.store(Site.STATE, x)
