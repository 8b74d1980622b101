"""Renders conversations with a model's chat template: Jinja, as ``transformers`` does."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glassesjax.errors import MODELS_WANTED, BadInput, escaped

STEPS, STEPS_A_MESSAGE = 100_000, 1000  # SmolLM2's template takes some 30 a message
MOST_DATE = 200  # characters of a date format
ROOM = 1 << 18  # characters of one text, and of the output


def chat_text(
    template: str | None,
    messages: Sequence[Mapping[str, str]],
    *,
    bos: str | None,
    eos: str | None,
    names: Mapping[str, str] | None = None,
) -> str:
    """A conversation as text, in the format of the model's training.

    The template has the names of ``apply_chat_template`` of ``transformers``, with neither tools
    nor documents: ``tojson`` as plain JSON, ``raise_exception``, ``strftime_now`` (which writes
    today's date into the text), ``break`` and ``continue``, and blocks of ``generation``.

    Args:
      template: The model's Jinja template; it is a program from a file and runs in a sandbox.
      messages: Each with ``role`` and ``content``.
      bos: Name of the beginning-of-sequence token; without one ``bos_token`` is not defined.
      eos: Name of the end-of-sequence token; likewise.
      names: Names of other special tokens by their variable, such as ``pad_token``.

    Returns:
      The text up to where the model's answer begins.

    Raises:
      BadInput: There is no valid template, it rejects these messages, or it takes more steps
        or memory than a template needs; or ``jinja2`` is not installed.
    """
    if template is None:
        remedy = "leave --chat out, or use a chat model"
        raise BadInput(f"Expected a model with a chat template, got one without: {remedy}.")
    special = {"bos_token": bos, "eos_token": eos, **(names or {})}
    values: dict[str, Any] = {name: text for name, text in special.items() if text is not None}
    # Defined as None, since templates test ``tools is not none``.
    values |= {"tools": None, "documents": None, "add_generation_prompt": True}
    values["messages"] = list(messages)
    texts = [text for message in messages for text in message.values() if isinstance(text, str)]
    render = _renderer(len(messages), sum(map(len, texts)))
    try:
        return render(template, values)
    except BadInput:
        raise
    except Exception as error:
        # A template is a program: it may fail in any way.
        message = escaped(error).rstrip(".")
        expected = "Expected a chat template that renders, got one that fails"
        raise BadInput(f"{expected} ({message}): leave --chat out.") from error


def _renderer(num_messages: int, characters: int) -> Callable[[str, Mapping[str, Any]], str]:
    """A function that renders a template; the limits grow with the conversation."""
    try:
        from jinja2 import nodes
        from jinja2.ext import Extension, LoopControlExtension
        from jinja2.parser import Parser

        from glassesjax.model.template_budget import Budget
        from glassesjax.model.template_sandbox import CountingEnvironment
    except ImportError as error:
        raise BadInput(MODELS_WANTED) from error

    class Generation(Extension):
        """``{% generation %}`` marks an assistant's turns, which are written unchanged."""

        tags = {"generation"}  # noqa: RUF012  (the library's own attribute)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno  # of the tag's name, which is consumed
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            # A separate scope: variables that are set inside end with the block.
            return nodes.Scope(body, lineno=line)

    def strftime_now(format: str) -> str:
        if len(format) > MOST_DATE:  # strftime is outside the budget: it would write any length
            raise ValueError(f"a date of {len(format)} characters")
        return datetime.datetime.now().strftime(format)

    def raise_exception(message: str) -> None:
        raise ValueError(message)

    budget = Budget(
        steps=STEPS + STEPS_A_MESSAGE * num_messages + characters // 4,
        room=ROOM + 16 * characters,
    )
    extensions = [Generation, LoopControlExtension]
    # Blanks around blocks are trimmed as by ``transformers``, for which templates are written.
    environment: Any = CountingEnvironment(
        budget, trim_blocks=True, lstrip_blocks=True, extensions=extensions
    )
    environment.globals.update(raise_exception=raise_exception, strftime_now=strftime_now)
    return environment.render_counted
