"""Where a model rounds: a value that names a format for each site, and the arithmetic between."""

import dataclasses
import enum
from collections.abc import Iterable
from typing import Literal, cast

from glassesjax.arrays import Array, DType, DTypeLike, Float
from glassesjax.borders import border, check_fields
from glassesjax.precision.formats import BF16, F16, F32, F64, FloatFormat
from glassesjax.precision.integers import IntegerFormat, NumberFormat


class Site(enum.StrEnum):
    """A rounding site: what a model stores, by the name of its field in a plan."""

    WEIGHTS = "weights"
    RESIDUAL = "residual"
    ACTIVATIONS = "activations"
    STATE = "state"
    ATTN_LOGITS = "attn_logits"
    ATTN_WEIGHTS = "attn_weights"
    OUTPUT = "output"


Mode = Literal["wide", "native", "simulated"]

_COMPUTED = (F64, F32, BF16, F16)  # the others are for storage: no backend has all operations


def _require(holds: bool, wanted: str, found: str) -> None:
    if not holds:
        raise ValueError(f"{wanted}, got {found}.")


def _join(formats: Iterable[NumberFormat]) -> str:
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

    Between two stores all arithmetic, sums included, is in the carrier; so is it in hardware, which
    accumulates products of 16-bit numbers in float32.
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
    """The softmax of the logits."""
    output: NumberFormat | None = None
    """The last representation, after the final norm."""
    mode: Mode = "wide"
    carrier: FloatFormat = F32
    """Format of the arithmetic between two roundings: F32 or F64."""

    def __post_init__(self) -> None:
        check_fields(self)
        _require(self.carrier in (F32, F64), "The carrier must be F32 or F64", self.carrier.name)
        for fmt in self.formats.values():
            if isinstance(fmt, FloatFormat):
                wanted = f"The carrier {self.carrier.name} must contain each format"
                _require(self.carrier.contains(fmt), wanted, fmt.name)
        match self.mode:
            case "wide":
                wanted = "A wide plan rounds nowhere (mode='simulated' does)"
                _require(not self.formats, wanted, f"formats for {', '.join(self.formats)}")
            case "simulated":
                wanted = "A simulated plan needs a format for some site (mode='wide' has none)"
                _require(bool(self.formats), wanted, "none")
            case "native":
                formats, got = set(self.formats.values()), _join(self.formats.values())
                narrow = self.formats.keys() == {Site.WEIGHTS}
                uniform = len(formats) == 1 and len(self.formats) == len(Site)
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
        narrowest = fmt.min_carrier if isinstance(fmt, FloatFormat) else F32
        sites = {site.value: fmt for site in Site}
        return cls(**sites, mode=mode, carrier=narrowest if carrier is None else carrier)

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
        """The sites that have a format."""
        every = {site: getattr(self, site) for site in Site}
        return {site: fmt for site, fmt in every.items() if fmt is not None}

    @property
    def row_wise(self) -> bool:
        """Whether what is stored of one token depends on that token's row alone.

        A format with one scale for a whole array lets later tokens move the rounding of earlier
        ones: rows are then not causal. Weights do not count, for they are no token's.
        """
        # A scale for a whole tensor depends on all of its rows; weights are no rows of tokens.
        stored = [fmt for site, fmt in self.formats.items() if site != Site.WEIGHTS]
        return not any(isinstance(f, IntegerFormat) and f.granularity == "tensor" for f in stored)

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
        formats, carrier = set(self.formats.values()), ""
        if self.mode == "simulated" and self.carrier == F64:
            carrier = " in f64"
        if len(self.formats) == len(Site) and len(formats) == 1:
            return f"{self.mode} {formats.pop().name} everywhere{carrier}"
        if self.mode == "native":
            carrier = f" in {self.carrier.name}"
        sites = ", ".join(f"{fmt.name} {site}" for site, fmt in self.formats.items())
        return f"{self.mode} {sites}{carrier}"

    def as_record(self) -> dict[str, str]:
        """Mode, carrier and the format of each rounded site, by name, for rows of results."""
        formats = {site.value: fmt.name for site, fmt in self.formats.items()}
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
