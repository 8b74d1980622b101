"""A conversation as a model's own template writes it: Jinja, with what ``transformers`` offers."""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from glassesjax.errors import MODELS_WANTED, BadInput


def chat_text(
    template: str | None,
    messages: Sequence[Mapping[str, str]],
    *,
    bos: str | None,
    eos: str | None,
    names: Mapping[str, str] | None = None,
) -> str:
    """A conversation as the model was taught to read it.

    The template finds what ``apply_chat_template`` of ``transformers`` gives it, with neither tools
    nor documents: ``tojson`` as plain JSON, ``raise_exception``, ``strftime_now`` (which writes
    today's date into the text), ``break`` and ``continue``, and blocks of ``generation``.

    Args:
      template: The model's own, in Jinja; it is a program out of a file and runs in a sandbox.
      messages: Each with ``role`` and ``content``.
      bos: Name of the beginning-of-sequence token; without one ``bos_token`` is not defined.
      eos: Name of the end-of-sequence token; likewise.
      names: Names of other special tokens by their variable, such as ``pad_token``.

    Returns:
      The text up to where the model's answer begins.

    Raises:
      BadInput: There is no template, it is none, or it refuses these messages; or ``jinja2`` is not
        installed.
    """
    if template is None:
        remedy = "leave --chat out, or use a model that was taught to converse"
        raise BadInput(f"Expected a model with a chat template, got one without: {remedy}.")
    environment = _environment()
    special = {"bos_token": bos, "eos_token": eos, **(names or {})}
    values: dict[str, Any] = {name: text for name, text in special.items() if text is not None}
    values |= {"tools": None, "documents": None, "add_generation_prompt": True}
    try:
        return environment.from_string(template).render(messages=list(messages), **values)
    except Exception as error:
        # A template is a program: it may fail in any way.
        message = " ".join(str(error).split()) or type(error).__name__
        wanted = "Expected a chat template that can be filled in, got one that fails"
        raise BadInput(f"{wanted} ({message.rstrip('.')}): leave --chat out.") from error


def _environment() -> Any:  # noqa: ANN401
    try:
        from jinja2 import nodes
        from jinja2.ext import Extension, LoopControlExtension
        from jinja2.parser import Parser
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise BadInput(MODELS_WANTED) from error

    class Generation(Extension):
        """``{% generation %}`` marks an assistant's turns, written here as they stand."""

        tags = {"generation"}  # noqa: RUF012  (the library's own attribute)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            # A scope of its own: what is set inside ends with the block.
            return nodes.Scope(body, lineno=line)

    environment: Any = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, LoopControlExtension]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(raise_exception=_refuse, strftime_now=_strftime_now)
    return environment


def _to_json(
    value: Any,  # noqa: ANN401
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: Sequence[str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own escapes ``<>&'`` for HTML and sorts keys."""
    pair = None if separators is None else (separators[0], separators[1])
    options = {"ensure_ascii": ensure_ascii, "sort_keys": sort_keys, "indent": indent}
    return json.dumps(value, separators=pair, **options)


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)


def _refuse(message: str) -> None:
    """What templates call to refuse a conversation."""
    raise ValueError(message)
