"""Which claims are measured, two at a time, and what their rows say of where and by what code."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax

from glassesjax.files import Row
from glassesjax.runs.provenance import provenance
from proofs_numeric.claim import Claim
from proofs_numeric.verify import discovery
from proofs_numeric.verify.fingerprint import fingerprint
from proofs_numeric.verify.rows import MATMUL, claim_rows
from proofs_numeric.verify.settings import OPTIMIZATIONS_OFF, VerifySettings

# What tells one row of the ledger from another. Other code makes other rows: a claim that was
# edited is measured again, and no row of yesterday's answers for it.
KEY = ("fingerprint", "claim", "part", "setting")
AT_A_TIME = 2  # claims; compiling is most of the work, and does not wait for Python


def verify(
    settings: VerifySettings, done: Callable[[Row], bool] = lambda row: False
) -> Iterator[tuple[Claim, list[Row]]]:
    """Measures the claims, two at a time.

    No setting of the process is changed. The quick suite takes a quarter of the time where most of
    XLA's optimizations are off, which the command sets, and ``optimized`` tells.

    Args:
      settings: Which claims, and how far.
      done: Whether a claim's rows are there already, asked with the claim's closing row.

    Yields:
      Each claim with its rows, the closing row last; in the order of the ledger.
    """
    codes = {name: fingerprint(name) for name in settings.names}
    closing = {"part": "closing", "setting": "all"}
    names = [n for n in codes if not done({**closing, "claim": n, "fingerprint": codes[n]})]
    claims = discovery.load(names)
    where = provenance()
    optimized = not jax.config.values[OPTIMIZATIONS_OFF]
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        measure = lambda claim: claim_rows(claim, settings.suite, certified=settings.certified)
        measured = [pool.submit(measure, claim) for claim in claims]
        for claim, rows in zip(claims, measured, strict=True):
            shared = where | {
                "study": "verify",
                "suite": settings.suite,
                "fingerprint": codes[claim.name],
                "matmul_default": MATMUL,
                "optimized": optimized,
            }
            yield claim, [{**shared, **row} for row in rows.result()]
    finally:
        pool.shutdown(cancel_futures=True)
