"""The study verify as one value."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from glassesjax.files import Row
from glassesjax.runs.study import WRITES, Call, Options, Study
from proofs_numeric.verify.settings import OPTIMIZATIONS_OFF, VerifySettings
from proofs_numeric.verify.verdicts import violations


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions(Options):
    """What a command adds to the choice of claims."""

    out: Path | None = None
    """The run folder; runs/verify-SUITE if absent. It may be filled claim by claim."""


def _run(settings: VerifySettings, options: VerifyOptions, call: Call) -> Sequence[Row]:
    from proofs_numeric.verify.run import run_verify

    return run_verify(settings, call.out, command=call.command, advance=call.advance)


def _lines(settings: VerifySettings, rows: Sequence[Row]) -> Iterable[str]:
    from proofs_numeric.verify import discovery
    from proofs_numeric.verify.sentences import ledger_lines
    from proofs_numeric.verify.summary import entries

    return ledger_lines(entries(rows, discovery.load(settings.names)))


def _configure(settings: VerifySettings) -> None:
    """Compiling is the cost of the quick suite."""
    import jax

    if settings.suite == "quick":
        jax.config.update(OPTIMIZATIONS_OFF, True)


STUDY = Study(
    name="verify",
    settings=VerifySettings,
    options=VerifyOptions,
    notes=f"{WRITES} Exit status 1 says that something in the ledger is not as it must be.",
    folder_part=lambda settings: f"{settings.suite}{'-certified' if settings.certified else ''}",
    steps=lambda settings, options: len(settings.names),
    run=_run,
    lines=_lines,
    violations=violations,
    configure=_configure,
)
