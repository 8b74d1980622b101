"""All tasks by name."""

import difflib
from collections.abc import Mapping

from glassesjax.errors import BadInput
from glassesjax.tasks.copying import COPYING
from glassesjax.tasks.counting import COUNTING
from glassesjax.tasks.retrieval import RETRIEVAL
from glassesjax.tasks.task import Task

TASKS: Mapping[str, Task] = {row.name: row for row in (*COPYING, *COUNTING, *RETRIEVAL)}


def named_task(name: str) -> Task:
    """The task of that name.

    Args:
      name: A key of ``TASKS``.

    Returns:
      The task.

    Raises:
      BadInput: There is no such task.
    """
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see the page on tasks."
    raise BadInput(f"Wanted a task out of {', '.join(TASKS)}; found {name!r}: {hint}")
