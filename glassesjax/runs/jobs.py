"""Submits a command as several cluster jobs that fill one run folder."""

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
    """Submits a command several times, and waits for all jobs.

    Args:
      arguments: Arguments of ``glassesjax``; the same for every job.
      folder: Folder for the jobs' output.
      count: Number of jobs, positive.
      cluster: ``slurm``, or ``local`` for processes of this machine.
      hours: Time limit of a job, rounded to whole minutes and at least one; SLURM ends the job
        then, and the same command continues.
      advance: Takes a line for each job that ended or failed.

    Raises:
      BadInput: submitit is not installed, or the cluster is not available.
    """
    try:
        executor = _submitit().AutoExecutor(folder=folder, cluster=cluster)
    except RuntimeError as error:
        expected = f"Expected a cluster {cluster}"
        raise BadInput(f"{expected}, got none ({error}): choose another --cluster.") from error
    executor.update_parameters(timeout_min=max(1, round(60 * hours)), name="glassesjax")
    command = [sys.executable, "-m", "glassesjax", *arguments]
    function = _submitit().helpers.CommandFunction(command)
    waiting = [executor.submit(function) for _ in range(count)]
    while waiting:
        for job in [job for job in waiting if job.done()]:
            waiting.remove(job)
            advance(f"job {job.job_id} {'ended' if job.exception() is None else 'failed'}")
        time.sleep(POLL if waiting else 0)


def _submitit() -> Any:  # noqa: ANN401
    try:
        import submitit
    except ImportError as error:
        expected = "Expected the submitit package for jobs, got none"
        raise BadInput(f"{expected}: pip install 'glassesjax[cluster]'.") from error
    return submitit
