"""Pairwise comparison of texts by a judge, in both orders; a win counts only if both agree.

The judge is supplied by the user: a person, a larger model behind any interface, or a rule. The
study itself needs none.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

from glassesjax.errors import BadInput
from glassesjax.studies.longform.records import LongformRow

Choice = Literal["first", "second", "tie"]
Verdict = Literal["win", "loss", "tie"]


@runtime_checkable
class Judge(Protocol):
    """A judge: decides which of two continuations of a prompt is better."""

    def __call__(self, prompt: str, first: str, second: str) -> Choice:
        """Compares.

        Returns:
          ``first``, ``second`` or ``tie``.
        """
        ...


def judged(judge: Judge, prompt: str, text: str, against: str) -> Verdict:
    """Whether a text wins against another, whichever is shown first.

    Source: arXiv 2401.06104v2, section on text generation: each pair is judged twice, with the
    order swapped, and a win counts only if both agree.

    Args:
      judge: Called twice; not called for equal texts, which are a tie.
      prompt: What both continue.
      text: The one that wins or loses.
      against: The other.

    Returns:
      ``win``, ``loss``, or ``tie`` where the answers differ or are ties.

    Raises:
      BadInput: The judge returned another value.
    """
    if text == against:
        return "tie"
    # A judge that prefers a place answers the same to both orders, which is a tie.
    answers = (judge(prompt, text, against), judge(prompt, against, text))
    for answer in answers:
        if answer not in ("first", "second", "tie"):
            expected = "Expected a judge that returns first, second or tie"
            raise BadInput(f"{expected}, got {answer!r:.60}: change the judge.")
    verdicts: Mapping[tuple[str, str], Verdict] = {
        ("first", "second"): "win",
        ("second", "first"): "loss",
    }
    return verdicts.get(answers, "tie")


def verdicts(
    judge: Judge, prompt: str, rows: Sequence[LongformRow]
) -> dict[tuple[str, int], dict[str, int]]:
    """All texts of a longform run against the full model's text of the same number.

    Args:
      judge: As for ``judged``.
      prompt: What all continue.
      rows: Of the longform study.

    Returns:
      By policy and slots, how many wins, losses and ties.
    """
    full = {row.sample: row.text for row in rows if row.policy == "full"}
    counts: dict[tuple[str, int], collections.Counter[str]] = {}
    for row in rows:
        if row.policy == "full" or row.sample not in full:
            continue
        verdict = judged(judge, prompt, row.text, full[row.sample])
        counts.setdefault((row.policy, row.slots), collections.Counter())[verdict] += 1
    # A Counter has no key for what never occurred; each outcome is listed.
    outcomes = ("win", "loss", "tie")
    return {key: {name: count[name] for name in outcomes} for key, count in counts.items()}
