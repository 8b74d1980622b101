"""A command as several jobs of a cluster, which fill one folder."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glassesjax.errors import BadInput

POLL = 1.0  # seconds


def run_jobs(
    arguments: Sequence[str],
    folder: Path,
    count: int,
    *,
    cluster: str,
    hours: float,
    advance: Callable[[str], None] = lambda name: None,
) -> None:
    """Submits a command several times, and waits for all of them.

    Args:
      arguments: Of ``glassesjax``; the same for every job.
      folder: Where what the jobs print goes.
      count: Jobs, positive.
      cluster: ``slurm``, or ``local`` for processes of this machine.
      hours: Longest time of a job, in whole minutes and at least one; SLURM ends it then, and the
        same command continues.
      advance: Takes a line for each job that ended, and whether it failed; what that means, the
        caller knows from what the jobs left.

    Raises:
      BadInput: submitit is not installed, or the cluster is not there.
    """
    executor = _executor(folder, cluster)
    executor.update_parameters(timeout_min=max(1, round(60 * hours)), name="glassesjax")
    command = [sys.executable, "-m", "glassesjax", *arguments]
    function = _submitit().helpers.CommandFunction(command)
    waiting = [executor.submit(function) for _ in range(count)]
    while waiting:
        for job in [job for job in waiting if job.done()]:
            waiting.remove(job)
            advance(f"job {job.job_id} {'ended' if job.exception() is None else 'failed'}")
        time.sleep(POLL if waiting else 0)


def _executor(folder: Path, cluster: str) -> Any:  # noqa: ANN401
    try:
        return _submitit().AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:
        raise BadInput(f"Wanted a cluster {cluster}; it is not here ({error}).") from error


def _submitit() -> Any:  # noqa: ANN401
    try:
        import submitit
    except ImportError as error:
        wanted = "Wanted the submitit package for jobs; it is not here"
        raise BadInput(f"{wanted}: pip install 'glassesjax[cluster]'.") from error
    return submitit
