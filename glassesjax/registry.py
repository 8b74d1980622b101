"""The verbs of the command line and their modules: a study is a folder and a line here.

Modules are imported by name when they are needed.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from glassesjax.runs.study import Command, Study

VERBS: Mapping[str, str] = {
    "collapse": "glassesjax.studies.collapse.study:STUDY",
    "influence": "glassesjax.studies.influence.study:STUDY",
    "generate": "glassesjax.studies.generate.study:STUDY",
    "perplexity": "glassesjax.studies.perplexity.study:STUDY",
    "retention": "glassesjax.studies.retention.study:STUDY",
    "recall": "glassesjax.studies.recall.study:STUDY",
    "longform": "glassesjax.studies.longform.study:STUDY",
    "bounded": "glassesjax.studies.bounded.study:STUDY",
    "train": "glassesjax.studies.train.study:STUDY",
    "sweep": "glassesjax.surveys.sweep.study:STUDY",
    "verify": "proofs_numeric.verify.study:STUDY",
    "runs": "glassesjax.commands:RUNS",
    "compare": "glassesjax.surveys.compare.study:COMPARE",
    "export": "glassesjax.exports:EXPORT",
    "models": "glassesjax.commands:MODELS",
    "backend": "glassesjax.commands:BACKEND",
}
"""In the order of the help."""


def load(verb: str) -> Study[Any, Any, Any] | Command:
    """The study or command of a verb.

    Args:
      verb: One of ``VERBS``.

    Raises:
      KeyError: There is no such verb.
    """
    return pkgutil.resolve_name(VERBS[verb])


def studies() -> Iterator[Study[Any, Any, Any]]:
    """All studies, which write a run folder, in the order of the help."""
    values = map(load, VERBS)
    return (value for value in values if isinstance(value, Study))
