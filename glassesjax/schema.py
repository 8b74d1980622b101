"""The version of the names that run folders and saved states use.

A file says by its ``schema`` which names it uses; one without it was written before names had to be
told apart, and a name whose meaning has changed since is read as what it meant then.
"""

import re
from collections.abc import Mapping
from typing import Any

from glassesjax.errors import BadInput, escaped

SCHEMA = 1
RUNS = 2
"""The schema of run folders whose rows are records (``glassesjax.runs.record``)."""
# Before schema 1, ``h2o`` and ``h2o_mean`` decided by layer unless ``-head`` followed.
_ONCE_BY_LAYER = re.compile(r"(?P<name>h2o|h2o_mean)(?P<head>-head)?(?P<rest>[+@~].*)?")


def renamed_policy(name: str) -> str:
    """Today's name of the policy that had this one before schema 1.

    Args:
      name: As on the command line of then.

    Returns:
      ``h2o`` becomes ``h2o-layer``, ``h2o-head`` becomes ``h2o``, and so with ``h2o_mean``; all
      others are as they were.
    """
    old = _ONCE_BY_LAYER.fullmatch(name)
    if old is None:
        return name
    return f"{old['name']}{'' if old['head'] else '-layer'}{old['rest'] or ''}"


def check_schema(of: Mapping[str, Any], where: object, newest: int = SCHEMA) -> None:
    """Refuses what a newer package has written.

    Args:
      of: Settings or a header, with or without ``schema``.
      where: The file, for the message.
      newest: The schema of such files today.

    Raises:
      BadInput: Its ``schema`` is none that this package knows.
    """
    found = of.get("schema", SCHEMA)
    if isinstance(found, bool) or found not in range(SCHEMA, newest + 1):
        known = " or ".join(map(str, range(SCHEMA, newest + 1)))
        expected = f"Expected schema {known} or none in {where}"
        raise BadInput(f"{expected}, got {escaped(found)}: use the glassesjax that wrote it.")
