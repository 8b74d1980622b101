"""The study verify as one value."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glassesjax.runs.study import WRITES, Options, Study
from proofs_numeric.verify.records import ROWS
from proofs_numeric.verify.settings import OPTIMIZATIONS_OFF, VerifySettings

if TYPE_CHECKING:
    from proofs_numeric.verify.run import VerifyResult
    from proofs_numeric.verify.summary import VerifySummary


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions(Options):
    """Flags of the command beside the choice of claims."""

    out: Path | None = None
    """The run folder; runs/verify-SUITE if absent. It may be filled claim by claim."""


def _violations(summary: "VerifySummary") -> Sequence[str]:
    from glassesjax.report.render import failure_lines

    return failure_lines("proofs_numeric.verify", summary.violations)


def _configure(settings: VerifySettings) -> None:
    """Compiling is the cost of the quick suite."""
    import jax  # here alone: help and refusals do not wait for it

    if settings.suite == "quick":
        jax.config.update(OPTIMIZATIONS_OFF, True)


STUDY: "Study[VerifySettings, VerifyOptions, VerifyResult]" = Study(
    name="verify",
    settings=VerifySettings,
    options=VerifyOptions,
    module="proofs_numeric.verify.run",
    notes=f"{WRITES} Exit status 1 says that something in the ledger is not as it must be.",
    fix_nothing=("only",),  # a folder may be filled claim by claim
    folder_part=lambda settings: f"{settings.suite}{'-certified' if settings.certified else ''}",
    steps=lambda settings, options: len(settings.names),
    rows=ROWS,
    violations=_violations,
    configure=_configure,
)
