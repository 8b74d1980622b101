"""A claim's fingerprint: digest of the modules behind its rows, of the versions and the device."""

import ast
import functools
import hashlib
import importlib.resources
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from glassesjax.runs.provenance import provenance
from proofs_numeric.verify import discovery

PACKAGES = ("glassesjax", "proofs_numeric")
MEASURING = "proofs_numeric.verify.measurements"  # runs the parts of any claim
# They change with files that make no row of a claim; its modules are digested one by one.
WHOLE = ("commit", "source_sha256")


class Import(NamedTuple):
    """One name of an import statement."""

    module: str
    name: str
    """Empty where the module itself is imported."""
    bound: str
    """What the name is called from there on."""


class SourceTree:
    """The modules of some packages on disk, and their imports from each other.

    Import statements are parsed, not run; those in functions and conditions count. A name that a
    package's ``__init__`` re-exports counts as the module that defines it, whether it is imported
    there, for type checkers only, or in a stub; a package imported as such counts with all names
    that it re-exports.

    Args:
      folders: Folder of each package, by its name; modules of other packages are left out.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._known: dict[str, list[str]] = {}  # what a module reaches, once it was read

    def files(self, module: str) -> tuple[Path, ...]:
        """The files of a module; none where there is no such module.

        Returns:
          The file, or a package's ``__init__.py`` and its stub, if it has one.
        """
        top, *parts = module.split(".")
        if top not in self._folders:
            return ()
        path = self._folders[top].joinpath(*parts)
        inits = (path / "__init__.py", path / "__init__.pyi")
        here = inits if inits[0].is_file() else (path.with_name(f"{path.name}.py"),)
        return tuple(file for file in here if file.is_file())

    def behind(self, modules: Iterable[str]) -> dict[str, tuple[Path, ...]]:
        """Modules, what they import, and what that imports in turn.

        Returns:
          Files by the module's name, by the order of names.
        """
        files: dict[str, tuple[Path, ...]] = {}
        waiting = list(modules)
        while waiting:
            module = waiting.pop()
            if module not in files and (mine := self.files(module)):
                files[module] = mine
                if module not in self._known:  # trees of many claims share most modules
                    homes = [self._homes(e.module, e.name) for e in self._imports(module)]
                    self._known[module] = sorted({home for some in homes for home in some})
                waiting += self._known[module]
        return dict(sorted(files.items()))

    def digest(self, modules: Iterable[str]) -> str:
        """Digest of modules and of what is behind them.

        Returns:
          Hexadecimal digits: the same for the same names and contents, wherever they lie.
        """
        digest = hashlib.sha256()
        for module, files in self.behind(modules).items():
            # Names and contents, never paths: an installed copy has the same digest.
            contents = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
            digest.update(f"{module} {' '.join(contents)}\n".encode())
        return digest.hexdigest()

    def _imports(self, module: str) -> list[Import]:
        files = self.files(module)
        package = module if files[0].name == "__init__.py" else module.rpartition(".")[0]
        return [each for file in files for each in _imports(file.read_text("utf-8"), package)]

    def _homes(self, module: str, name: str, passed: frozenset[str] = frozenset()) -> list[str]:
        """Modules that an import reaches: where the name is defined."""
        files = self.files(module)
        if not files or not name or files[0].name != "__init__.py":
            return [module]
        # A package: what it passes on hides a module of the same name, as in Python. One that
        # passes on a module of its own (``from package import name``) leads back to here.
        given = [each for each in self._imports(module) if each.bound == name]
        if given and module not in passed:
            beyond = passed | {module}
            return [home for e in given for home in self._homes(e.module, e.name, beyond)]
        return [f"{module}.{name}"] if self.files(f"{module}.{name}") else [module]


@functools.cache
def _imports(text: str, package: str) -> tuple[Import, ...]:
    """The imports of a module's text; ``package`` is where its relative ones start."""
    imports = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imports += [Import(each.name, "", each.asname or each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            # One dot is the package itself; each further one is a package above.
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, (above, node.module)))
            imports += [Import(module, each.name, each.asname or each.name) for each in node.names]
    return tuple(imports)


SOURCES = SourceTree({name: Path(str(importlib.resources.files(name))) for name in PACKAGES})


@functools.cache
def fingerprint(*claims: str) -> str:
    """Digest of the code, versions and device behind claims' rows.

    Returns:
      Sixteen hexadecimal digits. They change with the claim's file, the module that measures it,
      whatever these import, the versions and the device; not with pages, studies or other claims.
    """
    environment = {name: value for name, value in provenance().items() if name not in WHOLE}
    code = SOURCES.digest((*(discovery.modules()[name] for name in claims), MEASURING))
    return hashlib.sha256(repr((sorted(environment.items()), code)).encode()).hexdigest()[:16]
