"""Collects the measurements of a claim; only that, since fingerprints cover this module.

An edit here measures every claim again. Other modules of the package make rows, summary and page.
"""

from collections.abc import Iterable

import jax

from proofs_numeric.claim import Claim, Measurement, Part, Suite

MATMUL = "highest"  # precision of products, whatever the caller's is


def measure_claim(claim: Claim, suite: Suite, *, certified: bool) -> list[tuple[Part, Measurement]]:
    """All measurements of a claim.

    It may run in a separate thread: JAX's contexts are thread-local, and the caller's stay.

    Args:
      claim: The claim.
      suite: Quick or full.
      certified: Whether small instances are enclosed in ball arithmetic as well.

    Returns:
      Each with the part that it comes from: ladder, adversary, counter-cases, enclosures.

    Raises:
      ValueError: Two measurements of a part have the same setting, so that their keys are equal.
    """
    # Proofs are read in float64. Counter-cases put NaN in and look for it in what comes out: it is
    # no fault there.
    with (
        jax.enable_x64(True),
        jax.default_matmul_precision(MATMUL),
        jax.debug_nans(False),
    ):
        # Mostly generators, which run where they are read: here, inside the contexts.
        parts: dict[Part, Iterable[Measurement]] = {"ladder": claim.measure(suite)}
        if claim.adversary:
            parts["adversary"] = claim.adversary(suite)
        parts["counter_case"] = claim.counter_case()
        if certified and claim.certify:
            parts["certified"] = claim.certify()
        measured = []
        for part, measurements in parts.items():
            seen = set()
            for measurement in measurements:
                if measurement.setting in seen:
                    got = f"two of {measurement.setting!r} in the {part} of {claim.name}"
                    raise ValueError(f"Expected different settings, got {got}: name what differs.")
                seen.add(measurement.setting)
                measured.append((part, measurement))
        return measured
