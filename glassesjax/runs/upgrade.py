"""What older run folders mean in today's words.

A file says by its ``schema`` which names it uses; one without it was written before names had to be
told apart. Each change of a name's meaning is a row here, so that what was measured under the old
name is read, continued and never taken for what the name means now.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from glassesjax.schema import SCHEMA, renamed_policy

# Before schema 1, no text meant the King James Bible, for models that read text.
_READ_KJV = ("perplexity", "retention", "bounded")
# Before schema 1, a text that was written ended at one token of a model that may end it at several.
_WRITES = ("generate", "longform", "recall")
# Studies some of whose rows of before schema 1 say less than today's or something else; these have
# no ``finite``, and their cells are measured again.
_MEASURED_AGAIN = ("collapse", "bounded")
_DECAY = "weight_decay_on"  # all weights decayed when no setting said which


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
    given = new.get("text") or new.get("prompt")
    if new.get("study") in _READ_KJV and "text" in new and _reads_text(new) and not given:
        new["text"] = "kjv"
    grid, axes = new.get("grid"), new.get("axes")
    if new.get("study") == "train":
        new.setdefault(_DECAY, "all")
    elif new.get("study") == "sweep" and isinstance(grid, list) and isinstance(axes, dict):
        new |= {"grid": [*grid, f"{_DECAY}=all"], "axes": {**axes, _DECAY: ["all"]}}
    return new


def obsolete(settings: Mapping[str, Any]) -> str | None:
    """Why no settings of today mean what some from before schema 1 did.

    Args:
      settings: As ``settings.json`` has them.

    Returns:
      The reason, as what was found there; none where today's words can say it, or with a schema.
    """
    study, axes = settings.get("study"), settings.get("axes")
    if "schema" in settings:
        return None
    if study == "influence":
        return "one of influence whose rows do not say their text"
    if study in _WRITES and _reads_text(settings):
        return f"one of {study} whose texts end at one token only"
    training = axes if study == "sweep" and isinstance(axes, dict) else settings
    several = lambda name: value if isinstance(value := training.get(name), list) else [value]
    # Heads that are no power of two had other slopes, which no setting names today.
    odd = [heads for heads in several("heads") if isinstance(heads, int) and heads & (heads - 1)]
    if study in ("train", "sweep") and odd and "alibi" in several("positions"):
        return f"one of {study} whose ALiBi slopes for {odd[0]} heads were a geometric ladder"
    return None


def _reads_text(settings: Mapping[str, Any]) -> bool:
    """Whether the model of a run reads text, as far as its name tells."""
    model = str(settings.get("model"))
    return model == "smollm2" or model.endswith(".gguf")


def upgraded_rows(
    rows: Iterable[Mapping[str, Any]], study: object = None
) -> Iterator[dict[str, Any]]:
    """Rows from before schema 1 in today's words.

    Args:
      rows: Each with or without a ``policy``.
      study: Whose they are.

    Yields:
      The same but for that name; those left out that are to be measured again, since they would be
      taken for what they do not say.
    """
    for row in rows:
        if study in _MEASURED_AGAIN and "finite" not in row:
            continue
        policy = row.get("policy")
        yield {**row, "policy": renamed_policy(policy)} if isinstance(policy, str) else dict(row)
