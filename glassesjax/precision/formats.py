"""Binary floating-point formats as values: ranges, spacing, and rounding in a carrier dtype."""

import dataclasses
import math

from glassesjax.arrays import Array, DType, Float, Int
from glassesjax.borders import border, check_fields
from glassesjax.precision.grid import Grid

# Names of JAX's types; a format is a value, made and compared without JAX.
_NATIVE = {
    (11, 52, True, True): "float64",
    (8, 23, True, True): "float32",
    (8, 7, True, True): "bfloat16",
    (5, 10, True, True): "float16",
    (5, 2, True, True): "float8_e5m2",
    (4, 3, False, True): "float8_e4m3fn",
    (2, 1, False, False): "float4_e2m1fn",
}


@dataclasses.dataclass(frozen=True)
class FloatFormat:
    """A binary format with a sign bit and gradual underflow, given by its stored bits.

    It has the exponent bias ``2^(exponent_bits - 1) - 1`` of IEEE 754. With infinities, the
    topmost exponent is theirs and NaN's; without, its codes are numbers, but for the last one
    where the format has a NaN (the "fn" formats of the Open Compute Project).
    """

    name: str
    exponent_bits: int
    """From 2 to 11."""
    mantissa_bits: int
    """Stored bits of the fraction, from 1 to 52."""
    has_infinity: bool = True
    has_nan: bool = True
    saturating: bool = False
    """Whether too large values, infinities too, become the largest number. NaN stays NaN."""

    def __post_init__(self) -> None:
        check_fields(self)
        # Beyond these, float64 is no carrier; without infinity one exponent more is in use.
        most = 11 if self.has_infinity else 10
        if not (2 <= self.exponent_bits <= most and 1 <= self.mantissa_bits <= 52):
            expected = f"2 to {most} exponent bits and 1 to 52 mantissa bits"
            got = f"{self.exponent_bits} and {self.mantissa_bits}"
            raise ValueError(f"{self.name} must have {expected}, got {got}.")
        if self.has_infinity and not self.has_nan:
            raise ValueError(f"{self.name} has infinities, so it must have NaN too.")

    @property
    def bits(self) -> int:
        """Width of a stored number."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of one rounding of a normal number."""
        return math.ldexp(1, -self.mantissa_bits - 1)

    @property
    def epsilon(self) -> float:
        """Distance from 1 to the next larger number."""
        return math.ldexp(1, -self.mantissa_bits)

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal number."""
        return 2 - (1 << (self.exponent_bits - 1))

    @property
    def max(self) -> float:
        """Largest finite number."""
        last_is_nan = self.has_nan and not self.has_infinity
        # One NaN pattern ends the range of a format without infinity: one number less.
        significand = 2 - (2 if last_is_nan else 1) * self.epsilon
        max_exponent = 1 - self.min_exponent + (not self.has_infinity)
        return math.ldexp(significand, max_exponent)

    @property
    def min_normal(self) -> float:
        """Smallest positive number with the full precision."""
        return math.ldexp(1, self.min_exponent)

    @property
    def min_subnormal(self) -> float:
        """Smallest positive number."""
        return math.ldexp(1, self.min_exponent - self.mantissa_bits)

    @property
    def dtype(self) -> DType | None:
        """The array type that stores this format, or None where there is none (tf32)."""
        import jax.numpy as jnp

        # By its bits: a format of another name is stored likewise.
        key = (self.exponent_bits, self.mantissa_bits, self.has_infinity, self.has_nan)
        return jnp.dtype(_NATIVE[key]) if key in _NATIVE else None

    @property
    def min_carrier(self) -> "FloatFormat":
        """The narrower of float32 and float64 that contains this format."""
        return F32 if F32.contains(self) else F64

    @property
    def grid(self) -> Grid:
        """The finite numbers of the format, and the value of an overflow."""
        last = self.max if not self.has_nan else math.nan
        beyond = math.inf if self.has_infinity else last
        beyond = self.max if self.saturating else beyond
        return Grid(self.mantissa_bits, self.min_exponent, self.max, beyond)

    def contains(self, other: "FloatFormat") -> bool:
        """Whether every finite number of the other format is one of this.

        Args:
          other: Another format.

        Returns:
          The truth value; infinities and NaN do not count.
        """
        # Range at both ends, and precision between them.
        finest = self.min_subnormal <= other.min_subnormal
        return finest and self.max >= other.max and self.mantissa_bits >= other.mantissa_bits

    def _check_carrier(self, dtype: DType) -> None:
        if not carrier_format(dtype).contains(self):
            raise ValueError(f"{self.name} does not fit into {dtype}: use a float64 carrier.")

    @border()
    def ulp(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Distance between neighboring numbers of this format in the binade of each value.

        Args:
          x: float32 or float64 values, in the format or not.

        Returns:
          Powers of two in the dtype of ``x`` (the smallest subnormal number near zero, a power of
          two's spacing upward, the largest number's spacing beyond it); NaN where x is infinite
          or NaN. Near zero they may be subnormal in the carrier, and arithmetic flushes such
          numbers: divide by them with ``ulps_apart``, or work with ``ulp_exponent``.

        Raises:
          ValueError: The dtype of ``x`` does not hold this format.
        """
        from glassesjax.precision.bits import spacing

        self._check_carrier(x.dtype)
        return spacing(x, self.grid)

    @border()
    def ulp_exponent(self, x: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
        """Binary logarithm of ``ulp``: an integer, so that no backend flushes it to zero.

        Args:
          x: float32 or float64 values, in the format or not.

        Returns:
          int32; for infinity and NaN that of the largest number.

        Raises:
          ValueError: The dtype of ``x`` does not hold this format.
        """
        from glassesjax.precision.bits import spacing_exponent

        self._check_carrier(x.dtype)
        return spacing_exponent(x, self.grid)

    @border()
    def round(
        self, x: Float[Array, "*shape"], *, key: Array | None = None
    ) -> Float[Array, "*shape"]:
        """The nearest numbers of this format, ties to even, in the dtype of the argument.

        Exact for every bit pattern, eager and compiled, whatever the backend does with subnormal
        numbers: subnormal results are kept, too large ones become infinity, NaN (e4m3fn) or the
        largest number (e2m1, saturating formats), signed zeros and NaNs stay. It equals a cast
        from float32 bit for bit, but for NaN in e2m1, which has none: a cast makes it a zero, here
        it stays NaN, since a failure should not turn into a number. Casts from float64 differ where
        they go through float32 and so round twice.

        With a key, rounding is stochastic: to the neighbor farther from zero with the value's
        distance from the nearer one, in spacings, as the probability, so that the mean is the
        value. A number of the format never moves. The probability is a multiple of 2^-31 for
        float32 and of 2^-63 for float64, rounded down, which is exact for all values but those
        below the smallest number of the format by that much.

        The derivative is defined as the identity ("straight through"). The true one is zero
        almost everywhere; and the rule of ``jax.lax.reduce_precision`` would round the
        derivatives of the function that one is looking at.

        Args:
          x: float32 or float64, every value allowed.
          key: Of these draws alone; None for rounding to nearest.

        Returns:
          Values of this format in the carrier.

        Raises:
          ValueError: The dtype of ``x`` does not hold this format.

        Example:
          >>> import jax.numpy as jnp
          >>> BF16.round(jnp.float32([1.003, 1.004]))
          Array([1.       , 1.0078125], dtype=float32)
        """
        from glassesjax.precision.bits import round_to, straight_through

        self._check_carrier(x.dtype)
        if key is None:
            return straight_through(lambda x: round_to(x, self.grid), x)
        from glassesjax.precision.stochastic import noise_for, round_randomly

        noise = noise_for(key, x)
        return straight_through(lambda x, noise: round_randomly(x, noise, self.grid), x, noise)


F64 = FloatFormat("f64", 11, 52)
F32 = FloatFormat("f32", 8, 23)
TF32 = FloatFormat("tf32", 8, 10)
BF16 = FloatFormat("bf16", 8, 7)
F16 = FloatFormat("f16", 5, 10)
E4M3FN = FloatFormat("e4m3fn", 4, 3, has_infinity=False)
E5M2 = FloatFormat("e5m2", 5, 2)
E3M2 = FloatFormat("e3m2fn", 3, 2, has_infinity=False, has_nan=False)
E2M3 = FloatFormat("e2m3fn", 2, 3, has_infinity=False, has_nan=False)
E2M1 = FloatFormat("e2m1", 2, 1, has_infinity=False, has_nan=False)

FORMATS: dict[str, FloatFormat] = {
    fmt.name: fmt for fmt in (F64, F32, TF32, BF16, F16, E4M3FN, E5M2, E3M2, E2M3, E2M1)
}


def carrier_format(dtype: DType) -> FloatFormat:
    """The format of a carrier dtype.

    Args:
      dtype: float32 or float64.

    Returns:
      Its format.

    Raises:
      ValueError: It is another dtype.
    """
    carriers = {"float32": F32, "float64": F64}
    if str(dtype) not in carriers:
        raise ValueError(f"The carrier must be float32 or float64, got {dtype}.")
    return carriers[str(dtype)]
