"""Where float64 is exact: on the default backend, or else on the CPU of the host."""

import contextlib
import functools
from collections.abc import Iterator
from typing import TypeVar

import jax

from glassesjax.errors import BadInput

TreeT = TypeVar("TreeT")


def float64_fault() -> str:
    """What the default backend lacks of float64, as measured there.

    Returns:
      Words that continue "tpu, ..."; empty where arithmetic has all bits and they can be cast.
    """
    return _fault(jax.default_backend())


@functools.cache
def _fault(backend: str) -> str:
    from glassesjax.precision.backend import float64_bits_cast, float64_exact  # which imports us

    del backend  # the key
    if not float64_exact():
        return "whose float64 has fewer bits"
    return "" if float64_bits_cast() else "which cannot cast float64 to its bits"


def check_float64(wanted: str, remedy: str = "set JAX_PLATFORMS=cpu") -> None:
    """Raises an error where the default backend does not compute in float64.

    Args:
      wanted: The setting that needs it.
      remedy: What to do, for the message.

    Raises:
      BadInput: It has fewer bits there, or they cannot be cast.
    """
    if fault := float64_fault():
        got = f"{jax.default_backend()}, {fault}"
        raise BadInput(f"Expected a backend with float64 for {wanted}, got {got}: {remedy}.")


def float64_device() -> jax.Device | None:
    """The device for float64: None for the default one, else the first CPU.

    Raises:
      BadInput: The default backend lacks it, and JAX_PLATFORMS leaves out the CPU.
    """
    if not float64_fault():
        return None
    try:
        return jax.devices("cpu")[0]
    except RuntimeError as error:
        backend = jax.default_backend()
        got = f"{backend} alone, {float64_fault()}"
        raise BadInput(
            f"Expected a CPU for float64, got {got}: set JAX_PLATFORMS={backend},cpu."
        ) from error


def on_float64_device(tree: TreeT) -> TreeT:
    """Arrays on the device for float64, the same arrays where that is the default one.

    Args:
      tree: A pytree of arrays.
    """
    device = float64_device()
    return tree if device is None else jax.device_put(tree, device)


@contextlib.contextmanager
def float64_enabled() -> Iterator[None]:
    """64-bit types on, and new arrays on the device for float64."""
    device = float64_device()
    # Where the default backend has float64, a default device that the caller set stays.
    placed = contextlib.nullcontext() if device is None else jax.default_device(device)
    with jax.enable_x64(True), placed:
        yield
