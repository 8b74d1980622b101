"""A page out of a study's template: numbers from rows and summary, prose from the template."""

import csv
import functools
import importlib.resources
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jinja2
from markupsafe import Markup

from glassesjax.report.chart import Chart, drawing
from glassesjax.report.numbers import MISSING, number, percent, times
from glassesjax.report.tokens import visible

TEMPLATES = "glassesjax.report.templates"
_TIP = re.compile(r' data-tip="([^"]*)"')


class Plot(NamedTuple):
    """A figure of a page."""

    id: str
    svg: Markup
    """Of the page's own width."""
    narrow: Markup
    """The same for a phone; empty where one drawing serves both."""
    alt: str
    """What a reader who cannot see it should know: the finding with its numbers."""
    csv: Markup
    """The data behind it; empty where they are those of the table."""
    file: str
    """A whole SVG file."""
    linear: Markup = Markup("")
    """The figure once more with a linear scale; empty where only the logarithm makes sense."""
    narrow_linear: Markup = Markup("")
    """The same for a phone."""


def plot(
    name: str,
    draw: Callable[[], Chart],
    *,
    narrow: Callable[[], Chart] | None = None,
    linear: Callable[..., Chart] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    alt: str = "",
) -> Plot:
    """A figure, drawn once for each width and scale.

    Args:
      name: Different for each figure of a page; letters, digits and hyphens.
      draw: What draws it.
      narrow: What draws it 358 pixels wide, where text of one drawing would shrink.
      linear: What draws it with a linear scale, on a phone called with ``narrow=True``.
      rows: The data behind it.
      alt: Text description; empty if the template has one.
    """
    wide = drawing(draw(), name)
    draws = {
        "narrow": narrow,
        "linear": linear,
        "narrow_linear": functools.partial(linear, narrow=True) if linear and narrow else None,
    }
    # Each drawing has the same values: the others name those of the first by number.
    tips = {tip: at for at, tip in enumerate(_TIP.findall(wide.inline))}
    same = lambda tip: f' data-same="{tips[tip[1]]}"' if tip[1] in tips else tip[0]
    more = {
        suffix: Markup(_TIP.sub(same, drawing(again(), f"{name}-{suffix}").inline))
        for suffix, again in draws.items()
        if again
    }
    table = csv_text(rows) if rows else Markup("")
    plain = Plot(name, Markup(wide.inline), Markup(""), alt, table, wide.file)
    return plain._replace(**more)


def plots(
    figures: Mapping[str, Callable[..., Chart]],
    *,
    hero: str | None = None,
    linear: bool = False,
    rows: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Plot]:
    """The figures of a page, each drawn once, and the one that answers for a phone as well.

    Args:
      figures: What draws each, by its name.
      hero: Name of the one that answers, if it is there; what draws it takes ``narrow``.
      linear: Whether that one has a linear scale, too; what draws it takes ``linear`` then.
      rows: The data behind that one.
    """
    drawn = {}
    for name, draw in figures.items():
        if name == hero:
            narrow = functools.partial(draw, narrow=True)
            other = functools.partial(draw, linear=True) if linear else None
            drawn[name] = plot(name, draw, narrow=narrow, linear=other, rows=rows)
        else:
            drawn[name] = plot(name, draw)
    return drawn


def page_files(
    drawn: Mapping[str, Plot], page: Callable[[Mapping[str, Plot]], str]
) -> dict[str, str]:
    """The text of each file of figures and page, by its path in a run folder.

    Args:
      drawn: The figures, by their names.
      page: Takes them, and gives the text of the page.
    """
    figures = {f"figures/{name}.svg": each.file for name, each in drawn.items()}
    return {**figures, "index.html": page(drawn)}


def csv_text(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Rows as a table of text, their names first, escaped so that no markup can end it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        # Six digits, as many as a figure can show; a number that is missing is an empty cell.
        writer.writerow("" if value is None else _cell(value) for value in row.values())
    return Markup(text.getvalue().replace("&", "&amp;").replace("<", "&lt;"))


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.6g}"
    return f"{text}.0" if text.lstrip("-").isdecimal() else text  # 2.0 is no count


def page(
    package: str, template: str = "page.html.j2", *, parent: str = "", **context: object
) -> str:
    """One self-contained page, without external resources.

    Args:
      package: Whose template it is: the package's full name.
      template: The file there.
      parent: The package of another study, whose templates it builds on.
      **context: What the template shows.

    Returns:
      The text of the file. The same context gives the same text.
    """
    # Styles and scripts are in the page: it must show from a mail or a disk, without network.
    shared = importlib.resources.files(TEMPLATES)
    files = {name: (shared / f"page.{name}").read_text("utf-8") for name in ("css", "js")}
    return _environment(package, parent).get_template(template).render(**files, **context) + "\n"


def answer(package: str, summary: object, *, parent: str = "", **helpers: object) -> str:
    """What a run comes down to, in a sentence: the title of its page's first figure.

    Args:
      package: Whose template ``answer.html.j2`` it is.
      summary: All that the template reads.
      parent: As for ``page``.
      **helpers: What makes text of its numbers, where filters do not.

    Returns:
      Plain text, for a terminal.
    """
    # The template escapes for a page; a terminal gets it without tags and entities.
    template = _environment(package, parent).get_template("answer.html.j2")
    return Markup(template.render(summary=summary, **helpers)).striptags()


def failure_lines(package: str, failures: Iterable[object], *, parent: str = "") -> list[str]:
    """Failed checks in words, for a terminal; pages import the same macro.

    Args:
      package: Whose template ``failures.html.j2`` it is, with a macro ``failure``.
      failures: Out of a summary, each the macro's argument.
      parent: As for ``page``.

    Returns:
      Plain text, a line each.
    """
    module = _environment(package, parent).get_template("failures.html.j2").make_module()
    line = getattr(module, "failure")  # noqa: B009  (a macro, which no type checker knows)
    return [Markup(line(each)).striptags() for each in failures]


@functools.cache
def _environment(package: str, parent: str) -> jinja2.Environment:
    # The first folder that has a template wins: a study's own before its parent's and the shared.
    names = filter(None, (package, parent, TEMPLATES))
    folders = [cast(Path, importlib.resources.files(each)) for each in names]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,  # a misspelled name must not print as nothing
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "num": number, "times": times, "percent": percent_of, "signed": signed, "visible": visible,
        "words": words, "key": sort_key,
        "text": lambda value: MISSING if value in (None, "") else value,
    }  # fmt: skip
    shared: dict[str, Any] = {"m": environment.get_template("macros.html.j2").make_module()}
    environment.globals.update(shared)
    return environment


def signed(value: float | None, digits: int = 2) -> str:
    """A number with fixed decimals and a minus sign of its own.

    Args:
      value: Any number; None where a row has none.
      digits: Behind the point.
    """
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}" if math.isfinite(value) else "not finite"
    return text.replace("-", "\N{MINUS SIGN}")


def sort_key(value: int | float | jinja2.Undefined | None) -> int | float | str:
    """What a table sorts a number by; nothing where it is none or not finite.

    Args:
      value: Any number, or an expression of a template that has none.
    """
    if value is None or isinstance(value, jinja2.Undefined) or not math.isfinite(value):
        return ""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def percent_of(share: float | None) -> str:
    """A share in percent, as ``percent``; a dash where there is none."""
    return MISSING if share is None else percent(share)


def words(names: Iterable[object]) -> str:
    """Names in a row, the last one behind ``and``.

    Returns:
      Plain text; ``none`` for no name.
    """
    *first, last = [str(name) for name in names] or ["none"]
    return f"{', '.join(first)} and {last}" if first else last
