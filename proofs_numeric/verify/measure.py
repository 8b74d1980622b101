"""Measures claims, two at a time, and records code and environment of their rows."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax

from glassesjax.files import Row
from proofs_numeric.claim import Claim
from proofs_numeric.verify import discovery
from proofs_numeric.verify.fingerprint import fingerprint
from proofs_numeric.verify.measurements import MATMUL, measure_claim
from proofs_numeric.verify.records import VerifyConstants, VerifyRow
from proofs_numeric.verify.rows import claim_rows
from proofs_numeric.verify.settings import OPTIMIZATIONS_OFF, VerifySettings

AT_A_TIME = 2  # claims; compiling is most of the work, and does not wait for Python


def verify(
    settings: VerifySettings, done: Callable[[Row], bool] = lambda row: False
) -> Iterator[tuple[Claim, list[VerifyRow]]]:
    """Measures the claims, two at a time.

    No configuration of the process is changed. The quick suite takes a quarter of the time with
    most of XLA's optimizations off, as the command sets them; ``constants`` records the flags.

    Args:
      settings: The claims and the suite.
      done: Whether a claim's rows exist already, given the claim's closing row.

    Yields:
      Each claim with its rows, the closing row last; in the order of the ledger.
    """
    # Digests first: a claim whose rows exist is not even imported.
    codes = {name: fingerprint(name) for name in settings.names}
    done_already = lambda name: done({"kind": "closing", "claim": name, "fingerprint": codes[name]})
    claims = discovery.load(name for name in codes if not done_already(name))
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        measure = lambda claim: measure_claim(claim, settings.suite, certified=settings.certified)
        measured = [pool.submit(measure, claim) for claim in claims]
        # In order, whichever ends first: each is written as soon as those before it are.
        for claim, measurements in zip(claims, measured, strict=True):
            yield claim, claim_rows(claim, measurements.result(), codes[claim.name])
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C no further claim begins


def constants(settings: VerifySettings) -> VerifyConstants:
    """Fields shared by all rows of a process."""
    return VerifyConstants(
        study="verify",
        suite=settings.suite,
        matmul_default=MATMUL,
        optimized=not jax.config.values[OPTIMIZATIONS_OFF],
    )
