"""What the rows of a generate run say of each text: its tokens, and which layers cache them."""

from collections.abc import Sequence
from typing import NamedTuple

from glassesjax.report.markup import VISIBLE, Markup, element, escape, visible
from glassesjax.studies.generate.records import AnswerToken, PromptToken, TokenRow

PROMPT_SHOWN = 512  # tokens of a prompt that a page shows: its last ones
BREAK = "\N{ZERO WIDTH SPACE}"  # where a line may end; visible spaces allow no break


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
        self.policies = sorted(names, key=lambda name: name == "full")
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
        pairs = zip(one, other, strict=False)
        shorter = min(len(one), len(other))
        return next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)


def shaded(text: Text, differs: int | None, *, cut: int, num_layers: int) -> Markup:
    """A text in reading order, each token on a ground that is the stronger the more layers hold it.

    Args:
      text: Prompt and answer.
      differs: The answer's token from which on it is another than the one beside it, if any.
      cut: How many tokens of the prompt are left out.
      num_layers: Of the model.

    Returns:
      A ``div``; white space and line ends are visible.
    """
    left_out = element("em", f"… {cut} tokens before") if cut else ""
    tokens = (_token(row, num_layers) for row in text.prompt[cut:])
    prompt = element("span", left_out, *tokens, class_="asked")
    answer = [
        _token(row, num_layers, "parts" if row.step == differs else "") for row in text.answer
    ]
    return element("div", prompt, *answer, class_="written")


def _token(row: TokenRow, num_layers: int, class_: str = "") -> Markup:
    ends = isinstance(row, AnswerToken) and row.ended == "token"
    text = row.text or (row.token_text if ends else "")
    if not text:
        return Markup("")  # a part of a character: the token that completes it shows it
    share = row.retention.retained_share if row.retention else 0.0
    kind = " ".join(filter(None, (class_, "end" if ends else "")))
    body = Markup("".join(map(_character, text)))
    span = element(
        "span", body, title=_title(row, num_layers), style=f"--i:{share:.0%}", class_=kind
    )
    return Markup(BREAK + span) if text[:1].isspace() else span


def _title(row: TokenRow, num_layers: int) -> str:
    name = f"position {row.position}, {visible(row.token_text)}"
    if row.retention is None:
        return f"{name}: the last token, chosen and never read"
    held = f"held by {row.retention.retained_layers} of {num_layers} layers at the end"
    first, last = row.retention.first_evicted_at, row.retention.last_evicted_at
    gone = f", forgotten by all after position {last}" if last is not None else ""
    begun = f", first forgotten after position {first}" if first is not None else ""
    return f"{name}: {held}{begun}{gone}"


def _character(character: str) -> str:
    if character not in VISIBLE:
        return escape(visible(character))
    if character == " ":
        return " "
    mark = element("i", VISIBLE[character])
    return mark + "\n" if character == "\n" else mark
