"""A sandbox for untrusted templates with a bound on their work, which Jinja's sandbox has not.

Jinja keeps a template from Python's internals and from ranges beyond 100,000, but not from loops in
loops, texts that double or ``'%999999999d'``. Here a template has so many steps and no more: each
loop, output, call, look-up and operator costs one, and one more for every 4 things and for every
256 characters that it touches. What would make one text or list of more than ``room`` characters
and things is refused before it is made, and so is writing more than that in all. No clock and no
thread: a template that is refused once is refused always.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import BuiltinMethodType, GeneratorType, MethodType
from typing import Any

from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from glassesjax.errors import BadInput
from glassesjax.model.template_budget import (
    CHARACTERS_A_STEP,
    THINGS_A_STEP,
    Budget,
    TooMuch,
    counted_namespace,
)
from glassesjax.model.template_tree import CountedTree

MOST_DIGITS = 308  # that a number is rounded to
MOST_TEMPLATE = 1 << 15  # characters; compiled in half a second and 80 MB

SCOPES = ("_loop_vars", "_block_vars")  # Jinja's own arguments of calls

# What neither copies nor compares its arguments, so that it costs one step.
CHEAP_FILTERS = {"length", "count", "default", "d", "first", "last", "safe"}
CHEAP_TESTS = {
    *("boolean", "callable", "defined", "false", "float", "integer", "iterable", "mapping", "none"),
    *("number", "sameas", "sequence", "string", "true", "undefined"),
}
CHEAP_METHODS = {"get", "items", "keys", "values"}
# What goes over the things in a list and not into them.
SHALLOW_FILTERS = {
    "items",
    "list",
    "map",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
}
# What makes no more than it is given. All others may make as much as the product.
LINEAR = {
    *("abs", "attr", "capitalize", "copy", "count", "dictsort", "e", "endswith"),
    *("escape", "find", "float", "groupby", "index", "int", "isalnum", "isalpha", "isdigit"),
    *("islower", "isspace", "isupper", "lower", "lstrip", "max", "min", "partition"),
    *("random", "removeprefix", "removesuffix", "rstrip", "sort", "split", "splitlines"),
    *("startswith", "string", "strip", "swapcase", "title", "tojson", "trim", "unique", "upper"),
}
# What goes over a text again for each of its parts, as the codec of domain names does.
QUADRATIC = {"decode", "encode", "pprint", "striptags", "urlize", "wordwrap"}
PADDED = {"center", "ljust", "rjust", "truncate", "zfill"}  # these make the sum
# A width of five digits, or one that is an argument.
_WIDTH = re.compile(r"\d{5}|%[^a-zA-Z%(]*\*")


class CountingEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates have a budget of steps.

    Args:
      budget: Of one rendering.
      options: As of Jinja's own.
    """

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self, budget: Budget, **options: Any) -> None:  # noqa: ANN401
        # Jinja's optimizer would evaluate constant expressions while compiling, uncounted.
        super().__init__(optimized=False, **options)
        self.budget = budget
        self.filters["tojson"] = self.to_json
        self.filters = {name: self._paid(name, filter) for name, filter in self.filters.items()}
        self.tests = {name: self._paid_test(name, test) for name, test in self.tests.items()}
        del self.globals["lipsum"]  # writes random text of any length
        self.globals["namespace"] = counted_namespace(budget)

    def render_counted(self, source: str, values: Mapping[str, Any]) -> str:
        """Renders a template.

        Args:
          source: The template.
          values: Its variables.

        Returns:
          The text.

        Raises:
          BadInput: It goes over its budget.
          Exception: It fails in any other way.
        """
        try:
            if len(source) > MOST_TEMPLATE:
                raise TooMuch(f"at most {MOST_TEMPLATE} characters, got {len(source)}")
            code = self.compile(CountedTree().visit(self.parse(source)))
            template = self.template_class.from_code(self, code, self.make_globals(None))
            return template.render(values)
        except TooMuch as error:
            raise BadInput(f"Expected a chat template of {error}: leave --chat out.") from error

    # Calls that the rewritten syntax tree makes.

    def step(self, steps: int | float = 1) -> bool:
        """A turn of a loop, or a call of a macro."""
        return self.budget.spend(steps)

    def sized(self, value: object) -> object:
        """A value that is compared or has just been made."""
        self.budget.measure(value)
        return value

    def wrote(self, characters: int) -> bool:
        """A text that the template has by itself."""
        self.budget.write(characters)
        return self.budget.spend(1 + characters / CHARACTERS_A_STEP)

    def written(self, value: object) -> object:
        """A value that is written."""
        self.budget.write(self.budget.measure(value))
        return value

    def container(self, value: object) -> object:
        """The right operand of ``in``; a dictionary is not iterated."""
        return value if isinstance(value, Mapping) else self.sized(value)

    def sliced(self, value: Any) -> Any:  # noqa: ANN401
        """A slice of a text or list, whose items are not copied."""
        each = CHARACTERS_A_STEP if isinstance(value, str) else THINGS_A_STEP
        self.budget.spend(1 + (len(value) / each if hasattr(value, "__len__") else 0))
        return value

    def joined(self, *parts: object) -> str:
        """Concatenated texts."""
        self.budget.measure(parts)
        return "".join(map(str, parts))

    # Hooks of Jinja's sandbox.

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401
        """An attribute or, failing that, an item."""
        return self._looked_up(obj, attribute, super().getattr)

    def getitem(self, obj: Any, argument: Any) -> Any:  # noqa: ANN401
        """An item or, failing that, an attribute."""
        if isinstance(argument, tuple):
            self.budget.measure(argument)  # hashed anew at every look-up
        return self._looked_up(obj, argument, super().getitem)

    def _looked_up(self, obj: Any, name: Any, look: Callable) -> Any:  # noqa: ANN401
        self.budget.spend()
        if not (isinstance(obj, str) and name in ("format", "format_map")):
            return look(obj, name)
        # Jinja would give its own bound method, whose fields are not counted.
        formatter = _CountedFormatter(self)

        def filled(*args: Any, **named: Any) -> str:  # noqa: ANN401
            values = ((), *args) if name == "format_map" else (args, named)
            return formatter.vformat(obj, *values)

        return filled

    def call(__self, __context: Context, __obj: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """A function, macro or method."""
        # Counting calls that ``CountedTree`` wrote: not counted themselves.
        own = isinstance(__obj, MethodType) and __obj.__self__ in (__self, __self.budget)
        if own:
            return __obj(*args)
        named = [value for key, value in options.items() if key not in SCOPES]
        __self.budget.spend(1 + (len(args) + len(named)) / THINGS_A_STEP)
        name = getattr(__obj, "__name__", "")
        # Those of safe texts are written in Python, and make the same as those of texts.
        of_text = isinstance(__obj, MethodType) and isinstance(__obj.__self__, str)
        if (of_text or isinstance(__obj, BuiltinMethodType)) and name not in CHEAP_METHODS:
            __self._check_product(name, __obj.__self__, [*args, *named])
        elif not isinstance(__obj, Macro | BuiltinMethodType):
            __self.budget.measure(args, named)
        made = super().call(__context, __obj, *args, **options)
        return made if name in CHEAP_METHODS else __self._made(made)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        """An operator between two values."""
        self.budget.measure(left, right)
        number = lambda value: isinstance(value, int | float)
        # Sizes are checked before the operator runs: afterwards the memory is spent.
        if operator == "%" and isinstance(left, str | bytes):
            self._check_percent(left if isinstance(left, str) else left.decode("latin-1"), right)
        elif operator == "*" and not (number(left) and number(right)):
            times, repeated = (left, right) if isinstance(left, int) else (right, left)
            # Of a text the length is enough; a list repeats its nested values as well.
            if isinstance(times, int) and isinstance(repeated, str | bytes):
                self.budget.check_room(len(repeated) * abs(times))
            elif isinstance(times, int):
                self.budget.check_room(self.budget.measure(repeated) * abs(times))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            self.budget.check_bits(left.bit_length() * abs(right))
        return self._made(super().call_binop(context, operator, left, right))

    # The rules.

    def _made(self, value: Any) -> Any:  # noqa: ANN401
        """A result; items of an iterator are counted one by one."""
        if isinstance(value, GeneratorType):
            return self.budget.counted(value)
        if isinstance(value, str | bytes | list | tuple | dict | int):
            self.budget.measure(value)
        return value

    def _check_product(self, name: str, first: object, others: Sequence[object]) -> None:
        """Validates the size of a result, as far as it follows from the arguments."""
        size = self.budget.measure(first, *others)
        if name in LINEAR:
            return
        if name == "replace":  # what is replaced adds nothing; what replaces it does
            others = others[1:]
        elif name == "join" and isinstance(first, str):
            others = [first]  # the separator, once for each item
        numbers = [abs(x) for x in others if isinstance(x, int) and not isinstance(x, bool)]
        lengths = [self.budget.measure(x) for x in others if not isinstance(x, int)]
        most = max([1, *numbers, *lengths])
        self.budget.check_room(size + most if name in PADDED else size * most)
        again = (size / CHARACTERS_A_STEP) ** 2 if name in QUADRATIC else 0
        self.budget.spend(size * most / CHARACTERS_A_STEP + again)

    def _check_percent(self, text: str, values: object) -> None:
        if _WIDTH.search(text.replace("%%", "")):
            raise TooMuch("widths of at most 4 digits, got more")
        fields = text.count("%")  # each at most as wide as four digits allow, and its value
        self.budget.check_room(len(text) + fields * (9999 + self.budget.measure(values)))

    def _paid(self, name: str, filter: Callable) -> Callable:
        skipped = int(hasattr(filter, "jinja_pass_arg"))  # Jinja's context, before the value

        @functools.wraps(filter)
        def paid(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            # Keyword arguments count as the others: Jinja lets a template name any of them.
            value, *others = [*args[skipped:], *options.values()]
            self.budget.spend()
            if name in CHEAP_FILTERS:
                return filter(*args, **options)
            if name in SHALLOW_FILTERS:
                things = len(value) if hasattr(value, "__len__") else 1
                self.budget.spend(things / THINGS_A_STEP)
                made = filter(*args, **options)
                self.budget.spend(len(made) / THINGS_A_STEP if isinstance(made, list) else 0)
                return self.budget.counted(made) if isinstance(made, GeneratorType) else made
            if name == "format":
                self._check_percent(str(value), others)
            if name == "round" and any(isinstance(x, int) and abs(x) > MOST_DIGITS for x in others):
                raise TooMuch(f"numbers of at most {MOST_DIGITS} digits, got more")
            # A sum of lists from an initial list copies the whole at every item.
            if name == "sum" and any(isinstance(x, str | list | tuple) for x in others):
                raise TooMuch("sums of numbers, got others")
            self._check_product(name, value, others)
            return self._made(filter(*args, **options))

        return paid

    def _paid_test(self, name: str, test: Callable) -> Callable:
        @functools.wraps(test)
        def paid(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            self.budget.spend()
            if name not in CHEAP_TESTS:
                self.budget.measure(args, options)
            return test(*args, **options)

        return paid

    def to_json(
        self,
        value: Any,  # noqa: ANN401
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: Sequence[str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """Plain JSON; Jinja's filter escapes ``<>&'`` for HTML and sorts keys."""
        self.budget.check_room(8 * (indent if isinstance(indent, int) else len(indent or "")))
        pair = None if separators is None else (separators[0], separators[1])
        options: dict[str, Any] = {"ensure_ascii": ensure_ascii, "sort_keys": sort_keys}
        encoder = json.JSONEncoder(separators=pair, indent=indent, **options)
        # Piece by piece, so that a text over the limit is never whole in memory.
        parts, size = [], 0
        for part in encoder.iterencode(value):
            size += len(part)
            self.budget.check_room(size)
            self.budget.spend(1 / THINGS_A_STEP + len(part) / CHARACTERS_A_STEP)
            parts.append(part)
        return "".join(parts)


class _CountedFormatter(SandboxedFormatter):
    """Jinja's formatter, which calls the sandbox for each field, with a bound on widths."""

    def __init__(self, environment: CountingEnvironment) -> None:
        super().__init__(environment)
        self.budget, self.size = environment.budget, 0

    def format_field(self, value: Any, format_spec: str) -> Any:  # noqa: ANN401
        if re.search(r"\d{5}", format_spec):
            raise TooMuch("widths of at most 4 digits, got more")
        self.budget.measure(value)
        text = super().format_field(value, format_spec)
        self.size += self.budget.measure(text)
        self.budget.check_room(self.size)
        self.budget.spend()
        return text
