"""Limits of an untrusted template: a number of steps, and a size of one text or list."""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from jinja2.utils import Namespace

THINGS_A_STEP, CHARACTERS_A_STEP = 4, 256
MOST_BITS, BITS_A_CHARACTER = 4096, 4  # of an integer, and of it as text
VIEWS = KeysView | ValuesView | ItemsView


class TooMuch(Exception):
    """A template exceeds its limits; the message has the limit."""


class Budget:
    """Remaining steps of a template.

    Args:
      steps: Number of steps.
      room: Maximum number of characters and items in one value.
    """

    def __init__(self, steps: int, room: int) -> None:
        self.steps, self.room, self.left, self.written = steps, room, float(steps), 0.0

    def spend(self, steps: int | float = 1) -> bool:
        """Subtracts steps; returns True, so that it can be used in a condition."""
        self.left -= steps
        if self.left < 0:
            raise TooMuch(f"at most {self.steps} steps, got more")
        return True

    def check_room(self, size: int | float) -> None:
        """Raises an error for a value of a size above the limit."""
        if size > self.room:
            raise TooMuch(f"texts and lists of at most {self.room} characters and items, got more")

    def write(self, size: int | float) -> None:
        """Counts output, of a macro's text or of the whole."""
        self.written += size
        self.check_room(self.written)

    def check_bits(self, bits: int) -> None:
        """Raises an error for an integer of too many bits."""
        if bits > MOST_BITS:
            raise TooMuch(f"integers of at most {MOST_BITS} bits, got more")

    def measure(self, *values: object) -> int:
        """Number of characters and items in nested values; each counts as steps."""
        # A stack instead of recursion: nesting may be deeper than Python's limit.
        things, characters, stack = 0, 0, list(values)
        while stack:
            value = stack.pop()
            things += 1
            if isinstance(value, str | bytes):
                characters += len(value)
            elif isinstance(value, Mapping):
                self.check_room(things + 2 * len(value))  # before the stack grows by as many
                stack += value.keys()
                stack += value.values()
            elif isinstance(value, list | tuple | set | frozenset | VIEWS):
                self.check_room(things + len(value))
                stack += value
            elif isinstance(value, range):  # its items are not made yet
                things += len(value)
            elif isinstance(value, int):
                self.check_bits(value.bit_length())
                characters += value.bit_length() // BITS_A_CHARACTER  # as text it is so long
            self.check_room(things + characters)
        self.spend(things / THINGS_A_STEP + characters / CHARACTERS_A_STEP)
        return things + characters

    def counted(self, values: Iterator[Any]) -> Iterator[Any]:
        """The same values, each counted as a step when it is taken."""
        for value in values:
            self.measure(value)
            yield value


def counted_namespace(budget: Budget) -> type[Namespace]:
    """The ``namespace`` of templates, each assignment to which is a step."""

    class CountedNamespace(Namespace):
        """A namespace of a template. Its text omits the content, which may be recursive."""

        def __getattribute__(self, name: str) -> Any:  # noqa: ANN401
            # Python or a filter would call a dunder attribute without counting it.
            if name.startswith("__"):
                return object.__getattribute__(self, name)
            return super().__getattribute__(name)

        def __setitem__(self, name: str, value: Any) -> None:  # noqa: ANN401
            budget.spend()
            super().__setitem__(name, value)

        def __repr__(self) -> str:
            return "<Namespace>"

    return CountedNamespace
