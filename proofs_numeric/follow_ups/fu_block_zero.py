"""Follow-up: which number of a block with a scale is stored as zero beside the largest one."""

import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from glassesjax.precision import E2M1, E4M3FN, E5M2, FloatFormat
from glassesjax.theory.storage import mx_zero_border, nvfp4_zero_border
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="fu_block_zero",
    title="In a block with a scale, a number is zero by its ratio to the largest",
    kind="follow_up",
    source="ours, for the formats of OCP Microscaling (MX) 1.0 and NVFP4",
    page="storage",
    statement=r"\max \{ x : \mathrm{rd}(x / s) = 0 \} = s \, 2^{e - m - 1}, \quad"
    r" s = 2^{\lfloor \log_2 x_{\max} \rfloor - e_{\max}} \text{ (MX)}, \quad"
    r" s = s_2 \, \mathrm{rd}\Bigl( \frac{x_{\max}}{6 s_2} \Bigr),"
    r" \; s_2 = \frac{X_{\max}}{6 \cdot 448} \text{ (NVFP4)}",
    assumes=(
        "the scale $s$ is that of the block of the number",
        "$X_{\\max}$ is a power of two times $6 \\cdot 448$, so that $s_2$ is exact",
    ),
    note="So equal weights are zero in no MX block, whatever their number. In NVFP4 a whole block"
    " is lost if its largest number is at most a 458,752th of the tensor's.",
)

E2M3 = FloatFormat("e2m3fn", 2, 3, has_infinity=False, has_nan=False)
E3M2 = FloatFormat("e3m2fn", 3, 2, has_infinity=False, has_nan=False)
ELEMENTS = (E2M1, E2M3, E3M2, E4M3FN, E5M2)
LARGEST = (1.0, 1.25, 2 - 2.0**-20, 3e-5, 700.0)
WHOLE = 6 * 448.0  # the tensor's largest, for a second scale of one


def _mx_scale(largest: float, element: FloatFormat) -> float:
    return 2.0 ** (math.floor(math.log2(largest)) - math.floor(math.log2(element.max)))


def _nvfp4_scale(largest: float, tensor_largest: float) -> float:
    second = tensor_largest / WHOLE
    return float(E4M3FN.round(jnp.asarray(largest / (6 * second)))) * second


def _last_zero(scale: float, element: FloatFormat) -> float:
    """The largest float64 below the scale that is stored as zero: bit patterns are in order."""
    low, high = 0, int(np.array(scale).view(np.int64))
    while high - low > 1:
        # 64 at a time between the two, which are a zero and a number that is kept.
        tried = np.array([low + (high - low) * k // 63 for k in range(64)])
        elements = tried.view(np.float64) / scale
        zeros = np.asarray(element.round(jnp.asarray(elements))) == 0
        last = int(np.flatnonzero(zeros)[-1])
        low, high = int(tried[last]), int(tried[last + 1])
    return float(np.array(low).view(np.float64))


def _border(
    setting: str, scale: float, element: FloatFormat, border: float, own_scale: float
) -> Measurement:
    return Measurement.equality(
        setting=f"largest number stored as zero, {setting}",
        measured=_last_zero(scale, element),
        expected=border,
        # The quotient by a scale that is no power of two is rounded.
        roundoff=2.0**-52 * border,
        hypotheses=(
            Hypothesis(name="scale, off the block's own", distance=abs(scale - own_scale)),
        ),
        size=element.mantissa_bits,
        dtype=element.name,
    )


def _mx(element: FloatFormat, largest: float, scale_of: float | None = None) -> Measurement:
    """The border of a block; with the scale of another number, that of a wrong block."""
    own = _mx_scale(largest, element)
    scale = own if scale_of is None else _mx_scale(scale_of, element)
    border = float(mx_zero_border(largest, element))
    beside = "" if scale_of is None else f", scale of {scale_of:g}"
    return _border(f"MX, {element.name}, {largest=:g}{beside}", scale, element, border, own)


def _equal_weights(element: FloatFormat) -> Measurement:
    """A normalized row of equal weights, of which blocks are stored with their scale."""
    lengths = 2.0 ** np.arange(21) + np.arange(21)
    scales = np.array([_mx_scale(1 / n, element) for n in lengths])
    stored = np.asarray(element.round(jnp.asarray(1 / lengths / scales)))
    return Measurement.equality(
        setting=f"lengths up to 2^20 of which equal weights are zero, MX, {element.name}",
        measured=float(np.sum(stored == 0)),
        expected=0.0,
        roundoff=0.0,
        size=element.mantissa_bits,
        dtype=element.name,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for element in ELEMENTS:
        for largest in LARGEST if suite == "full" else LARGEST[:3]:
            yield _mx(element, largest)
        yield _equal_weights(element)
    for largest in (WHOLE, 100.0, 7.0, 1.0, 0.03):
        scale, border = _nvfp4_scale(largest, WHOLE), float(nvfp4_zero_border(largest, WHOLE))
        yield _border(f"NVFP4, {largest=:g} of {WHOLE:g}", scale, E2M1, border, scale)
    lost = WHOLE / (448 * 1024)
    for name, largest, expected in (("at", lost, 0.0), ("above", np.nextafter(lost, 1), 2.0**-9)):
        yield Measurement.equality(
            setting=f"scale of an NVFP4 block {name} a 458,752th of the tensor's largest number",
            measured=_nvfp4_scale(float(largest), WHOLE),
            expected=expected,
            roundoff=0.0,
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """The scale of a larger number of another block, or of the whole tensor."""
    yield _mx(E2M1, 1.0, scale_of=64.0)
    yield _mx(E4M3FN, 1.0, scale_of=2.0**12)
    own, whole = _nvfp4_scale(7.0, WHOLE), _nvfp4_scale(WHOLE, WHOLE)
    border = float(nvfp4_zero_border(7.0, WHOLE))
    yield _border("NVFP4, largest=7, scale of the whole tensor", whole, E2M1, border, own)
