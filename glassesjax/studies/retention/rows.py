"""Rows of the retention study: tokens, classes of tokens, decisions of layers, and the whole."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from glassesjax.cache.policies import Policy
from glassesjax.cache.retention import (
    cached_to_end,
    lifetimes,
    mean_lifetime,
    overlaps,
    recent_share,
    survival_mean,
)
from glassesjax.model.pretrained import LanguageModel
from glassesjax.runs.overflow_fields import OverflowFields
from glassesjax.studies.retention.records import (
    CLASS_NAMES,
    ClassRow,
    LayerRow,
    RetentionRow,
    SummaryRow,
    TokenRow,
)
from glassesjax.tasks.word_classes import CLASSES, classify


class Subject(NamedTuple):
    """A model, the text that it reads, and under what."""

    model: LanguageModel
    tokens: tuple[int, ...]
    cells: Mapping[tuple[str, int], Policy]
    """By the policy's canonical name and the number of slots."""


def retention_rows(
    tokens: Sequence[int],
    texts: Sequence[str],
    evicted: Sequence[np.ndarray],
    cell: tuple[str, int],
    *,
    finite: bool | None = True,
    overflow: OverflowFields | None = None,
    text_perplexity: float | None = None,
) -> Iterator[RetentionRow]:
    """The rows of one cell; the summary closes it.

    Args:
      tokens: Numbers of the text's tokens.
      texts: Their texts.
      evicted: For each layer, when each of its decisions evicted each token.
      cell: Policy and slots.
      finite: Whether the representations are.
      overflow: Where the pass overflows first, if it does.
      text_perplexity: Of the text, with everything cached.
    """
    every = np.concatenate(evicted)  # (groups, seq) of each layer -> (decisions, seq)
    lives, cut = lifetimes(every), cached_to_end(every)
    names = classify(texts)
    head = {"policy": cell[0], "slots": cell[1], "finite": finite}
    steps, cached = lives.mean(axis=0), cut.mean(axis=0)  # (decisions, seq) -> (seq,)
    for position, token in enumerate(tokens):
        yield TokenRow(
            **head,
            position=position,
            token=token,
            token_text=texts[position],
            word_class=CLASS_NAMES[names[position]],
            steps=float(steps[position]),
            cached=float(cached[position]),
        )
    yield from _class_rows(np.array(names), lives, cut, head)
    # (layers, layers), symmetric: each pair once is what lies above the diagonal.
    alike = overlaps(evicted, cell[1])
    yield from _layer_rows(evicted, alike, head)
    pairs = alike[np.triu_indices(len(alike), 1)]  # (layers, layers) -> (pairs,)
    yield SummaryRow(
        **head,
        decisions=len(every),
        steps=float(lives.mean()),
        steps_of_any_policy=mean_lifetime(cell[1], every.shape[1]),
        survival_steps=survival_mean(lives, cut),
        censored=float(cut.mean()),
        recent_share=float(recent_share(every, cell[1]).mean()),
        mean_first_steps=float(lives[:, 0].mean()),
        first_cached_share=float(cut[:, 0].mean()),
        overlap=float(pairs.mean()) if len(pairs) else None,
        cached_somewhere=float(cut.any(axis=0).mean()),
        cached_everywhere=float(cut.all(axis=0).mean()),
        overflow=overflow,
        text_perplexity=text_perplexity,
    )


def _class_rows(
    names: np.ndarray, lives: np.ndarray, cut: np.ndarray, head: dict[str, Any]
) -> Iterator[ClassRow]:
    for name in (row.name for row in CLASSES):
        mine = names == name
        if mine.any():
            # Over decisions first, which are not independent: the error is that over tokens.
            means = lives[:, mine].mean(axis=0)  # (decisions, seq) -> (tokens of the class,)
            spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
            yield ClassRow(
                **head,
                word_class=CLASS_NAMES[name],
                tokens=len(means),
                steps=float(means.mean()),
                standard_error=None if spread is None else spread / len(means) ** 0.5,
                survival_steps=survival_mean(lives[:, mine], cut[:, mine]),
                censored=float(cut[:, mine].mean()),
            )


def _layer_rows(
    evicted: Sequence[np.ndarray], alike: np.ndarray, head: dict[str, Any]
) -> Iterator[LayerRow]:
    for layer, steps in enumerate(evicted):
        # (layers, layers) -> (layers - 1,): the overlap with itself is 1 and no result.
        others = np.delete(alike[layer], layer)
        follows = layer + 1 < len(evicted)
        # (groups, seq) -> (groups,)
        for group, recent in enumerate(recent_share(steps, head["slots"])):
            yield LayerRow(
                **head,
                layer=layer,
                group=group,
                recent_share=float(recent),
                first_steps=int(lifetimes(steps)[group, 0]),
                first_cached=bool(cached_to_end(steps)[group, 0]),
                overlap_next=float(alike[layer, layer + 1]) if follows else None,
                overlap=float(others.mean()) if len(others) else None,
                evicted=tuple(steps[group].tolist()),
            )
