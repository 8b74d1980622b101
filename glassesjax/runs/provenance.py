"""Provenance of rows: code, versions, backend, device and matmul precision."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import jax

from glassesjax import draws
from glassesjax.model.layers import matmul_precision

PACKAGES = ("glassesjax", "jax", "jaxlib", "flax", "numpy")
ROOT = Path(__file__).parents[1]  # of the package


def provenance() -> dict[str, str]:
    """Code, versions, backend and device: flat, and the same for every row of one process."""
    device = jax.devices()[0]
    return {
        "backend": device.platform,
        "device": device.device_kind,
        "matmul_precision": matmul_precision(),
        "prng_impl": draws.IMPLEMENTATION,  # of every key that a study makes
        "matmul_default": str(jax.config.values["jax_default_matmul_precision"]),  # others get it
        "python": platform.python_version(),
        "machine": platform.machine(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        **code_fields(),
    }


def code_fields() -> dict[str, str]:
    """Code of this process: commit, digest of the sources, and versions of the packages."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"commit": commit(), "source_sha256": source_digest(), **versions}


@functools.cache
def source_digest(root: Path = ROOT) -> str:
    """Digest of the package's modules as they lie on disk, by their names."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


@functools.cache
def commit(root: Path = ROOT) -> str:
    """The commit of the repository that tracks the package.

    Returns:
      Its digest, with ``-changed`` where files of the package differ from it; empty without a
      repository that tracks the package, or without git.
    """
    # A package installed below somebody's repository is not part of it.
    if _git(root, "ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    head, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--", ".")
    if head is None or changed is None:
        return ""
    return f"{head}-changed" if changed else head


def _git(root: Path, *words: str) -> str | None:
    """Output of git; None where it fails or is not installed."""
    # Variables such as GIT_DIR, set inside a hook, would name another repository.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *words],
            cwd=root, env=clean, capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
