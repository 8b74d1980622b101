"""How published families stretch rotary positions: divisors of each frequency, and a factor.

Each function gives ``Rotary.divisors`` for the pairs that rotate, highest frequency first, as
Python numbers in float64: the same numbers whatever the decoder computes in.
"""

import math
from collections.abc import Sequence


def llama3_divisors(
    rotated: int,
    base: float,
    *,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_length: int,
) -> tuple[float, ...]:
    r"""Divisors of Llama 3.1: slow frequencies are divided, fast ones stay, with a ramp between.

    With :math:`w = 2 \pi / f` the wavelength and O the original length: 1 where
    :math:`w < O / high`, the factor s where :math:`w > O / low`, between them
    :math:`1 / ((1 - t) / s + t)` with :math:`t = (O / w - low) / (high - low)`.

    Source: the configuration of Llama 3.1 (``rope_type: llama3``).

    Args:
      rotated: Coordinates that rotate; even.
      base: Of the frequencies.
      factor: s.
      low_freq_factor: Wavelengths over O / low are divided by s.
      high_freq_factor: Those below O / high are kept.
      original_length: O, in tokens.

    Returns:
      One divisor for each pair.
    """

    def divisor(frequency: float) -> float:
        turns = original_length * frequency / (2 * math.pi)  # O / w
        if turns > high_freq_factor:
            return 1.0
        if turns < low_freq_factor:
            return factor
        kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
        return 1 / ((1 - kept) / factor + kept)

    return tuple(map(divisor, frequencies(rotated, base)))


def yarn_divisors(
    rotated: int,
    base: float,
    *,
    factor: float,
    original_length: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> tuple[float, ...]:
    r"""Divisors of YaRN: a linear ramp over the number of the pair, from kept to divided.

    .. math:: \dim(r) = \frac{d \ln(O / 2 \pi r)}{2 \ln b}, \qquad
       m_i = \mathrm{clip} \left( \frac{i - lo}{hi - lo}, 0, 1 \right), \qquad
       f_i' = f_i (1 - m_i) + \frac{f_i}{s} m_i

    with lo the floor of dim(beta_fast), at least 0, and hi the ceiling of dim(beta_slow), at most
    d - 1.

    Source: Peng et al., arXiv 2309.00071, section 3.2.
    Differs: the published code's bounds of lo and hi; a ramp of no width has width 0.001.

    Args:
      rotated: Coordinates that rotate, d; even.
      base: Of the frequencies, b.
      factor: s.
      original_length: O, in tokens.
      beta_fast: Turns within O from which a pair keeps its frequency.
      beta_slow: Turns within O up to which it is divided by s.
      truncate: Whether lo and hi are whole numbers.

    Returns:
      One divisor for each pair.
    """
    pair = lambda r: rotated * math.log(original_length / (2 * math.pi * r)) / (2 * math.log(base))
    low, high = pair(beta_fast), pair(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotated - 1)
    width = high - low or 0.001
    ramp = lambda i: min(max((i - low) / width, 0.0), 1.0)
    return tuple(1 / ((1 - ramp(i)) + ramp(i) / factor) for i in range(rotated // 2))


def yarn_attention_factor(
    factor: float, mscale: float | None = None, mscale_all_dim: float | None = None
) -> float:
    r"""YaRN's factor on rotated queries and keys.

    .. math:: g(s, m) = 0.1 \, m \ln s + 1 \text{ for } s > 1, \text{ else } 1

    Source: Peng et al., arXiv 2309.00071, equation 22: the square of g(s, 1) is 1 / t.
    Differs: the published code's quotient where both scales are given.

    Args:
      factor: s.
      mscale: m.
      mscale_all_dim: Another m, by whose g is divided.

    Returns:
      g(s, mscale) / g(s, mscale_all_dim) where both are given and not zero, else g(s, 1).
    """
    gain = lambda scale: 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1
    return gain(mscale) / gain(mscale_all_dim) if mscale and mscale_all_dim else gain(1.0)


def longrope_attention_factor(factor: float, original_length: int) -> float:
    r"""LongRoPE's factor on rotated queries and keys, :math:`\sqrt{1 + \ln s / \ln O}`.

    Source: Ding et al., arXiv 2402.13753, as Phi-3's configuration has it.

    Args:
      factor: s, the longest length over the original one.
      original_length: O, in tokens; over 1.

    Returns:
      The factor; 1 where s is at most 1.
    """
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original_length))


def frequencies(rotated: int, base: float) -> Sequence[float]:
    """Radians per position of each pair, highest first: b^(-2 i / d).

    Args:
      rotated: Coordinates that rotate, d; even.
      base: b.

    Returns:
      One for each pair.
    """
    return [base ** (-2 * i / rotated) for i in range(rotated // 2)]
