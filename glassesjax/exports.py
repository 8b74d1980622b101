"""Export of a run's rows and figures to common file formats."""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from glassesjax.errors import BadInput
from glassesjax.files import check_local, check_name, part_of, to_json, writing
from glassesjax.results import read
from glassesjax.runs.run import Result
from glassesjax.runs.study import Command
from glassesjax.settings import check_settings

if TYPE_CHECKING:
    import pandas

RunFolderName = Annotated[
    Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="A run folder.")
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Exports a run's rows as a table, or its figures."""

    run: RunFolderName
    to: Literal["csv", "parquet", "json", "pdf", "png", "svg"] = "csv"
    """Kind of file; csv, parquet and json are of the rows, pdf, png and svg of the figures."""
    out: Path | None = None
    """Folder for the files; export/ in the run folder if absent."""

    def __post_init__(self) -> None:
        check_settings(self)


def export(settings: ExportSettings) -> Iterable[str]:
    """Writes the files; returns their paths.

    Raises:
      BadInput: There is no such run, a package is missing, or the folder is not writable.
      DiskFull: The disk is full.
    """
    out = settings.out or settings.run / "export"
    check_local(out)
    check_name(out, "--out")
    if settings.to == "parquet" and importlib.util.find_spec("pyarrow") is None:
        expected = "Expected the pyarrow package for --to parquet, got none here"
        raise BadInput(f"{expected}: pip install 'glassesjax[export]'.")
    result, paths = read(settings.run), []
    with writing("to write the export", out):
        out.mkdir(parents=True, exist_ok=True)
        for name, write in _writers(result, settings.to).items():
            path = out / f"{name}.{settings.to}"
            part = part_of(path)
            try:  # replaced as a whole, or not at all
                write(part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            paths.append(str(path))
    return paths


def _writers(result: Result[Any, Any, Any], kind: str) -> Mapping[str, Callable[[Path], object]]:
    """Function that writes each file, by its name without the suffix."""
    match kind:
        case "csv":
            # Lists as JSON, since a cell of a text file holds one value.
            cell = lambda value: to_json(value) if isinstance(value, tuple) else value
            return {"rows": lambda path: _writable(result).map(cell).to_csv(path, index=False)}
        case "parquet":
            return {"rows": lambda path: _writable(result).to_parquet(path, index=False)}
        case "json":
            rows = list(result.run.flat())
            return {"rows": lambda path: path.write_text(to_json(rows, indent=1), "utf-8")}
        case _:
            save = lambda name, path: result.figure(name).savefig(path, format=kind, dpi=200)
            return {name: functools.partial(save, name) for name in result.figures}


def _writable(result: Result[Any, Any, Any]) -> "pandas.DataFrame":
    """The table of rows, with half surrogates escaped, which may occur in tokens."""
    escaped = lambda cell: cell.encode("utf-8", "backslashreplace").decode()
    return result.frame().map(lambda cell: escaped(cell) if isinstance(cell, str) else cell)


EXPORT = Command(
    name="export",
    description="A run's rows as csv, parquet or json, or its figures as pdf, png or svg.",
    settings=ExportSettings,
    lines=export,
)
