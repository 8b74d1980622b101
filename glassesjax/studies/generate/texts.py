"""What the rows of a generate run say of each text: its tokens, and who still holds them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from glassesjax.files import Row
from glassesjax.report.fields import integer
from glassesjax.report.markup import VISIBLE, Markup, element, escape, visible

PROMPT_SHOWN = 512  # tokens of a prompt that a page shows: its last ones
BREAK = "\N{ZERO WIDTH SPACE}"  # where a line may end; visible spaces allow no break


class Text(NamedTuple):
    """One prompt and what was written after it, under one policy."""

    prompt: Sequence[dict[str, Any]]
    answer: Sequence[dict[str, Any]]

    @property
    def tokens(self) -> list[int]:
        """Token numbers of the answer."""
        return [row["token"] for row in self.answer]

    @property
    def last(self) -> dict[str, Any]:
        """The row that ends the answer."""
        return self.answer[-1]

    @property
    def read(self) -> list[dict[str, Any]]:
        """Rows of all tokens that were read: all but the last."""
        return [row for row in (*self.prompt, *self.answer) if row["held"] is not None]


class Texts:
    """The texts of a run: of its policy, and of the full state where that was written beside it.

    Args:
      rows: Rows of the generate study.

    Raises:
      ValueError: There are none.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        if not rows:
            raise ValueError("Wanted rows of the generate study; found none.")
        found = dict.fromkeys(str(row["policy"]) for row in rows)
        self.policies = sorted(found, key=lambda name: name == "full")
        self._by_key: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in rows:
            key = (str(row["policy"]), integer(row, "prompt"))
            self._by_key.setdefault(key, []).append(dict(row))
        self.count = 1 + max(prompt for _, prompt in self._by_key)

    def __call__(self, policy: str, prompt: int) -> Text:
        """The text of a prompt under a policy."""
        rows = sorted(self._by_key[policy, prompt], key=lambda row: row["position"])
        part = lambda name: [row for row in rows if row["part"] == name]
        return Text(part("prompt"), part("answer"))

    def first_row(self, policy: str) -> dict[str, Any]:
        """Any row of a policy: what all of them share."""
        return min(self._by_key[policy, 0], key=lambda row: row["position"])

    def agreement(self, prompt: int) -> int | None:
        """How many tokens of the two answers agree before the first that does not."""
        if len(self.policies) < 2:
            return None
        one, other = (self(policy, prompt).tokens for policy in self.policies[:2])
        pairs = zip(one, other, strict=False)
        shorter = min(len(one), len(other))
        return next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)


def shaded(text: Text, differs: int | None) -> Markup:
    """A text in reading order, each token on a ground that is the stronger the more hold it.

    Args:
      text: Prompt and answer.
      differs: The answer's token from which on it is another than the one beside it, if any.

    Returns:
      A ``div``; white space and line ends are visible.
    """
    shown = text.prompt[-PROMPT_SHOWN:]
    cut = len(text.prompt) - len(shown)
    said = f"… {cut} tokens before" if cut else ""
    left_out = element("em", said) if cut else ""
    prompt = element("span", left_out, *map(_token, shown), class_="asked")
    answer = [_token(row, "parts" if row["step"] == differs else "") for row in text.answer]
    return element("div", prompt, *answer, class_="written")


def _token(row: dict[str, Any], class_: str = "") -> Markup:
    text = row["text"] or (row["token_text"] if row["ended"] == "token" else "")
    if not text:
        return Markup("")  # a part of a character: the token that completes it shows it
    share = row["held_share"] or 0.0
    kind = " ".join(filter(None, (class_, "end" if row["ended"] == "token" else "")))
    body = Markup("".join(map(_character, text)))
    span = element("span", body, title=_title(row), style=f"--i:{share:.0%}", class_=kind)
    return Markup(BREAK + span) if text[:1].isspace() else span


def _title(row: dict[str, Any]) -> str:
    name = f"position {row['position']}, {visible(row['token_text'])}"
    if row["held"] is None:
        return f"{name}: the last token, chosen and never read"
    held = f"held by {row['held']} of {row['layers']} layers at the end"
    first, last = row["first_forgotten"], row["last_forgotten"]
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
