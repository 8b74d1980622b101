"""Streaming detokenization: whole characters only, up to a stop string."""

import codecs
from collections.abc import Callable, Sequence

from glassesjax.errors import BadInput


class TextStream:
    """Incremental decoding of one sequence to text.

    The joined pieces are the text up to the stop string that is complete first, whatever the token
    boundaries; of those that end together, the longest. Bytes of an incomplete character are
    buffered until the next token; invalid ones become replacement characters.

    Args:
      token_bytes: The bytes of a token.
      stops: Strings that end the text; they are not returned.

    Raises:
      BadInput: An empty stop string.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], stops: Sequence[str] = ()) -> None:
        if not all(stops):
            raise BadInput("Expected non-empty stop strings, got an empty one: leave it out.")
        self._bytes, self._stops = token_bytes, tuple(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self.stopped = False
        """Whether a stop string was reached; nothing is returned after it."""

    def push(self, token: int) -> tuple[str, str]:
        """Takes the next token.

        Args:
          token: Its number.

        Returns:
          The characters that it completed, and the text that is released.
        """
        text = self._decoder.decode(self._bytes(token))
        return text, self._show(text)

    def finish(self) -> tuple[str, str]:
        """Flushes the buffers after the last token.

        Returns:
          The characters of the remaining bytes, and the text that is released.
        """
        text = self._decoder.decode(b"", final=True)
        shown = self._show(text)
        rest, self._pending = self._pending, ""
        return text, shown if self.stopped else shown + rest

    def _show(self, text: str) -> str:
        if self.stopped:
            return ""
        self._pending += text
        pending = self._pending
        # By end, then by start: of those that end together, the longest.
        matches = [(at + len(stop), at) for stop in self._stops if (at := pending.find(stop)) >= 0]
        self.stopped = bool(matches)
        if matches:
            cut = min(matches)[1]
        else:
            # The longest suffix that is a prefix of a stop string is not released yet.
            longest = max((len(stop) - 1 for stop in self._stops), default=0)
            sizes = range(min(longest, len(pending)), 0, -1)
            begins = lambda size: any(stop.startswith(pending[-size:]) for stop in self._stops)
            cut = len(pending) - next(filter(begins, sizes), 0)
        shown, self._pending = pending[:cut], "" if matches else pending[cut:]
        return shown
