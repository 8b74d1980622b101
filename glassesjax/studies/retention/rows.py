"""Rows of the retention study: tokens, classes of tokens, decisions of layers, and the whole."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.cache.policies import Policy
from glassesjax.cache.retention import (
    held_to_end,
    lifetimes,
    mean_lifetime,
    overlaps,
    recent_share,
    survival_mean,
)
from glassesjax.files import Value
from glassesjax.model.pretrained import LanguageModel
from glassesjax.tasks.word_classes import CLASSES, classify

Fields = dict[str, Value]


class Subject(NamedTuple):
    """A model, the text that it reads, and under what."""

    model: LanguageModel
    tokens: tuple[int, ...]
    cells: Mapping[tuple[str, int], Policy]
    """By the policy's name as it was asked for, and the number of slots."""


class _Kept(NamedTuple):
    """What all layers did with the text, one decision after the other."""

    lives: np.ndarray  # decisions seq
    cut: np.ndarray  # decisions seq


def retention_rows(
    tokens: Sequence[int], texts: Sequence[str], forgotten: Sequence[np.ndarray], slots: int
) -> Iterator[Fields]:
    """The rows of one cell; the summary closes it.

    Args:
      tokens: Numbers of the text's tokens.
      texts: Their texts.
      forgotten: For each layer, when each of its decisions forgot each token.
      slots: Capacity.
    """
    every = np.concatenate(forgotten)
    kept = _Kept(lifetimes(every), held_to_end(every))
    names = classify(texts)
    yield from _token_rows(tokens, texts, names, kept)
    yield from _class_rows(np.array(names), kept)
    alike = overlaps(forgotten, slots)
    yield from _layer_rows(forgotten, alike, slots)
    yield _summary(every, kept, alike, slots)


def _token_rows(
    tokens: Sequence[int], texts: Sequence[str], names: Sequence[str], kept: _Kept
) -> Iterator[Fields]:
    steps, held = kept.lives.mean(axis=0), kept.cut.mean(axis=0)
    for position, token in enumerate(tokens):
        yield {
            "kind": "token",
            "item": str(position),
            "position": position,
            "token": token,
            "token_text": texts[position],
            "class": names[position],
            "steps": float(steps[position]),
            "held": float(held[position]),
        }


def _class_rows(names: np.ndarray, kept: _Kept) -> Iterator[Fields]:
    for name in (row.name for row in CLASSES):
        mine = names == name
        if mine.any():
            means = kept.lives[:, mine].mean(axis=0)
            spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
            yield {
                "kind": "class",
                "item": name,
                "class": name,
                "tokens": len(means),
                "steps": float(means.mean()),
                "standard_error": None if spread is None else spread / len(means) ** 0.5,
                "survival_steps": survival_mean(kept.lives[:, mine], kept.cut[:, mine]),
                "censored": float(kept.cut[:, mine].mean()),
            }


def _layer_rows(forgotten: Sequence[np.ndarray], alike: np.ndarray, slots: int) -> Iterator[Fields]:
    for layer, steps in enumerate(forgotten):
        others = np.delete(alike[layer], layer)
        follows = layer + 1 < len(forgotten)
        for group, recent in enumerate(recent_share(steps, slots)):
            yield {
                "kind": "layer",
                "item": f"{layer}.{group}",
                "layer": layer,
                "group": group,
                "recent_share": float(recent),
                "first_steps": int(lifetimes(steps)[group, 0]),
                "first_held": bool(held_to_end(steps)[group, 0]),
                "overlap_next": float(alike[layer, layer + 1]) if follows else None,
                "overlap": float(others.mean()) if len(others) else None,
                "forgotten": ",".join(map(str, steps[group].tolist())),
            }


def _summary(every: np.ndarray, kept: _Kept, alike: np.ndarray, slots: int) -> Fields:
    pairs = alike[np.triu_indices(len(alike), 1)]
    return {
        "kind": "summary",
        "item": "all",
        "decisions": len(every),
        "steps": float(kept.lives.mean()),
        "steps_of_any_policy": mean_lifetime(slots, every.shape[1]),
        "survival_steps": survival_mean(kept.lives, kept.cut),
        "censored": float(kept.cut.mean()),
        "recent_share": float(recent_share(every, slots).mean()),
        "first_steps": float(kept.lives[:, 0].mean()),
        "first_held": float(kept.cut[:, 0].mean()),
        "overlap": float(pairs.mean()) if len(pairs) else None,
        "held_somewhere": float(kept.cut.any(axis=0).mean()),
        "held_everywhere": float(kept.cut.all(axis=0).mean()),
    }
