"""What older run folders and saved states mean in today's words.

A file says by its ``schema`` which names it uses; one without it was written before names had to be
told apart. Each change of a name's meaning is a row here, so that what was measured under the old
name is read, continued and never taken for what the name means now.
"""

import re
from collections.abc import Mapping
from typing import Any

from glassesjax.errors import BadInput

SCHEMA = 1
# Before schema 1, ``h2o`` and ``h2o_mean`` decided by layer unless ``-head`` followed.
_ONCE_BY_LAYER = re.compile(r"(?P<name>h2o|h2o_mean)(?P<head>-head)?(?P<rest>[+@~].*)?")
# Before schema 1, no text meant the King James Bible, for models that read text.
_READ_KJV = ("perplexity", "influence", "retention", "bounded")


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


def upgraded_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in today's words.

    Args:
      settings: As ``settings.json`` has them.

    Returns:
      With ``schema`` first; the same if they had one.
    """
    if "schema" in settings:
        return dict(settings)
    new = {"schema": SCHEMA, **settings}
    if isinstance(names := new.get("policies"), list):
        new["policies"] = [renamed_policy(str(name)) for name in names]
    if isinstance(name := new.get("policy"), str):
        new["policy"] = renamed_policy(name)
    model, given = str(new.get("model")), new.get("text") or new.get("prompt")
    reads_text = model == "smollm2" or model.endswith(".gguf")
    if new.get("study") in _READ_KJV and "text" in new and reads_text and not given:
        new["text"] = "kjv"
    return new


def upgraded_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row from before schema 1 in today's words.

    Args:
      row: With or without a ``policy``.

    Returns:
      The same but for that name.
    """
    policy = row.get("policy")
    return {**row, "policy": renamed_policy(policy)} if isinstance(policy, str) else dict(row)


def check_schema(of: Mapping[str, Any], where: object) -> None:
    """Refuses what a newer package has written.

    Args:
      of: Settings or a header, with or without ``schema``.
      where: The file, for the message.

    Raises:
      BadInput: Its ``schema`` is none that this package knows.
    """
    found = of.get("schema", SCHEMA)
    if isinstance(found, bool) or found != SCHEMA:
        expected = f"Expected schema {SCHEMA} or none in {where}"
        raise BadInput(f"{expected}, got {found!s:.40}: use the glassesjax that wrote it.")
