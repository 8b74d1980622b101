"""The nearest name of a rounding plan to one that is none."""

import difflib
from collections.abc import Iterable

from glassesjax.precision.format_names import OTHER_NAMES, number_format
from glassesjax.precision.formats import FORMATS
from glassesjax.precision.scaled import SCALED_FORMATS


def nearest_plan(text: str, native: str, groups: Iterable[str], presets: Iterable[str]) -> str:
    """A plan's name like this one, its misspelt formats and sites replaced by the nearest ones.

    Args:
      text: A name that is none.
      native: What stands before the format of a native plan.
      groups: Names of sites.
      presets: Names of presets.

    Returns:
      The name; empty where some part is like none, or nothing is misspelt.
    """
    parts = text.split(",")
    read = [
        _part(part, native, tuple(groups), () if at else tuple(presets))
        for at, part in enumerate(parts)
    ]
    near = ",".join(read)
    return near if all(read) and near != text else ""


def _part(text: str, native: str, groups: tuple[str, ...], presets: tuple[str, ...]) -> str:
    name, at, sites = text.partition("@")
    before = native if name.startswith(native) else ""
    fmt = _format(name.removeprefix(before), () if at or before else presets)
    words = [_site(word, groups) for word in (sites.split("+") if at else ())]
    return f"{before}{fmt}{at}{'+'.join(words)}" if fmt and all(words) else ""


def _format(name: str, presets: tuple[str, ...]) -> str:
    if name in presets:
        return name
    try:
        number_format(name)
    except ValueError:
        if name.startswith("fp8"):  # one of two formats is meant, and the error names both
            return ""
        known = (*FORMATS, *SCALED_FORMATS, *OTHER_NAMES, *presets)
        return "".join(difflib.get_close_matches(name, known, n=1, cutoff=0.5))
    return name


def _site(word: str, groups: tuple[str, ...]) -> str:
    name, colon, option = word.partition(":")
    near = [name] if name in groups else difflib.get_close_matches(name, groups, n=1, cutoff=0.5)
    return f"{near[0]}{colon}{option}" if near else ""
