"""Version of the names in run folders and saved states.

The field ``schema`` of a file is the version of its names. A file without it was written before
schema 1; names whose meaning has changed since are read with their old meaning.
"""

import re
from collections.abc import Mapping
from typing import Any

from glassesjax.errors import BadInput, escaped

SCHEMA = 1
RUNS = 2
"""The schema of run folders whose rows are records (``glassesjax.runs.record``)."""
# Before schema 1, ``h2o`` and ``h2o_mean`` evicted by layer unless ``-head`` followed.
_ONCE_BY_LAYER = re.compile(r"(?P<name>h2o|h2o_mean)(?P<head>-head)?(?P<rest>[+@~].*)?")


# Names of settings, and of their values, before version 0.2.0: on the command line, in a sweep's
# grid and in ``settings.json``, which are read under today's names.
RENAMED_SETTINGS: Mapping[str, str] = {
    "heard": "influence_examples",
    "beside": "baseline",
    "spacing": "position_ids",
}
_RENAMED_VALUES: Mapping[tuple[str, object], str] = {
    ("baseline", "nothing"): "none",
    ("position_ids", "true"): "original",
}


def renamed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under the names of today.

    Args:
      settings: Of any version.

    Returns:
      The same settings; also those of a sweep's ``grid`` and ``axes``.
    """
    new: dict[str, Any] = {}
    for name, value in settings.items():
        now = RENAMED_SETTINGS.get(name, name)
        plain = isinstance(value, str)
        new[now] = _RENAMED_VALUES.get((now, value), value) if plain else value
    if isinstance(axes := new.get("axes"), dict):
        new["axes"] = {RENAMED_SETTINGS.get(name, name): of for name, of in axes.items()}
    if isinstance(grid := new.get("grid"), list):
        words = [str(word).partition("=") for word in grid]
        new["grid"] = [f"{RENAMED_SETTINGS.get(a, a)}{sign}{of}" for a, sign, of in words]
    return new


def renamed_policy(name: str) -> str:
    """Today's name of a policy named before schema 1.

    Args:
      name: As on the command line before schema 1.

    Returns:
      ``h2o`` becomes ``h2o-layer``, ``h2o-head`` becomes ``h2o``, likewise ``h2o_mean``; all
      others are unchanged.
    """
    old = _ONCE_BY_LAYER.fullmatch(name)
    if old is None:
        return name
    return f"{old['name']}{'' if old['head'] else '-layer'}{old['rest'] or ''}"


def check_schema(of: Mapping[str, Any], where: object, newest: int = SCHEMA) -> None:
    """Raises an error for a file of a newer schema.

    Args:
      of: Settings or a header, with or without ``schema``.
      where: The file, for the message.
      newest: The schema of such files today.

    Raises:
      BadInput: Its ``schema`` is unknown to this version.
    """
    schema = of.get("schema", SCHEMA)
    if isinstance(schema, bool) or schema not in range(SCHEMA, newest + 1):
        known = " or ".join(map(str, range(SCHEMA, newest + 1)))
        expected = f"Expected schema {known} or none in {where}"
        raise BadInput(f"{expected}, got {escaped(schema)}: use the glassesjax that wrote it.")
