"""The texts of a generate run from its rows: tokens, and the layers that cache them."""

from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.studies.generate.records import AnswerToken, PromptToken, TokenRow

PROMPT_SHOWN = 512  # tokens of a prompt that a page shows: its last ones


class Text(NamedTuple):
    """One prompt and what was written after it, under one policy."""

    prompt: Sequence[PromptToken]
    answer: Sequence[AnswerToken]

    @property
    def rows(self) -> list[TokenRow]:
        """Of all tokens, in order."""
        return [*self.prompt, *self.answer]

    @property
    def tokens(self) -> list[int]:
        """Token numbers of the answer."""
        return [row.token for row in self.answer]


class Texts:
    """The texts of a run: of its policy, and of the full state where that was written beside it.

    Args:
      rows: Rows of the generate study, at least one.
    """

    def __init__(self, rows: Sequence[TokenRow]) -> None:
        names = dict.fromkeys(row.policy for row in rows)
        # The policy first, whichever was written first; sorting is stable.
        self.policies = sorted(names, key=lambda name: name == "full")
        # Rows come answers first, then prompts: they are sorted by position when a text is read.
        self._by_key: dict[tuple[str, int], list[TokenRow]] = {}
        for row in rows:
            self._by_key.setdefault((row.policy, row.prompt), []).append(row)
        self.count = 1 + max(prompt for _, prompt in self._by_key)

    def __call__(self, policy: str, prompt: int) -> Text:
        """The text of a prompt under a policy."""
        rows = sorted(self._by_key[policy, prompt], key=lambda row: row.position)
        return Text(
            [row for row in rows if isinstance(row, PromptToken)],
            [row for row in rows if isinstance(row, AnswerToken)],
        )

    def is_whole(self, policy: str, prompt: int) -> bool:
        """Whether there are rows of what a policy wrote after a prompt."""
        rows = self._by_key.get((policy, prompt), [])
        return any(isinstance(row, AnswerToken) for row in rows)

    def first_row(self, policy: str) -> TokenRow:
        """Any row of a policy: what all of them share."""
        return min(self._by_key[policy, 0], key=lambda row: row.position)

    def agreement(self, prompt: int) -> int | None:
        """How many tokens of the two answers agree before the first that does not."""
        if len(self.policies) < 2:
            return None
        one, other = (self(policy, prompt).tokens for policy in self.policies[:2])
        # Where none differs, the shorter is a prefix of the longer.
        pairs = zip(one, other, strict=False)
        shorter = min(len(one), len(other))
        return next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
