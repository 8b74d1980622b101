"""Tokens to text as they come: whole characters only, and nothing that may begin a stop string."""

import codecs
from collections.abc import Callable, Sequence

from glassesjax.errors import BadInput


class TextStream:
    """The text of one sequence, shown piece by piece.

    Pieces joined are the text up to the stop string that is complete first, however the tokens cut
    it; of those that end together, the longest. Bytes that make no whole character wait for the
    next token; those that never will become replacement characters.

    Args:
      token_bytes: The bytes of a token.
      stops: Strings that end the text; they are not shown.

    Raises:
      BadInput: An empty stop string.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], stops: Sequence[str] = ()) -> None:
        if not all(stops):
            raise BadInput("Wanted stop strings of one character or more; found an empty one.")
        self._bytes, self._stops = token_bytes, tuple(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False
        """Whether a stop string was met; nothing is shown after it."""

    def push(self, token: int) -> tuple[str, str]:
        """Takes the next token.

        Args:
          token: Its number.

        Returns:
          The characters that it completed, and what may be shown now.
        """
        text = self._decoder.decode(self._bytes(token))
        return text, self._show(text)

    def finish(self) -> tuple[str, str]:
        """Says that no token follows.

        Returns:
          What the bytes that are left stand for, and what was held back.
        """
        text = self._decoder.decode(b"", final=True)
        shown = self._show(text)
        rest, self._held = self._held, ""
        return text, shown if self.stopped else shown + rest

    def _show(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        self.stopped = bool(found)
        cut = min(found)[1] if found else len(self._held) - self._begun()
        shown, self._held = self._held[:cut], "" if found else self._held[cut:]
        return shown

    def _begun(self) -> int:
        """The length of the longest end of the text that is the beginning of a stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        sizes = range(min(longest, len(self._held)), 0, -1)
        begins = lambda size: any(stop.startswith(self._held[-size:]) for stop in self._stops)
        return next(filter(begins, sizes), 0)
