"""Array types for annotations, without importing JAX, NumPy or jaxtyping.

Importing these takes seconds, and settings are validated without them. Modules that compute import
``Array`` and the dtypes from jaxtyping; modules of values that settings name import them from here.
The run-time checks are the same.
"""

import functools
import sys
from typing import TYPE_CHECKING, Any

__all__ = [
    "Array",
    "DType",
    "DTypeLike",
    "Float",
    "Int",
    "Int8",
    "NumPyArray",
    "NumPyNumber",
    "resolved",
]


class _Named(type):
    """Placeholder for a class of another library (``home``) that may not be imported yet."""

    def __instancecheck__(cls, value: object) -> bool:
        return (kind := _original(cls)) is not None and isinstance(value, kind)


class _Shaped(type):
    """Placeholder for a jaxtyping array type with axes, which ``resolved`` returns."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, resolved(cls))


class _Kind:
    """Placeholder for a dtype of jaxtyping; ``Float[Array, "seq dim"]`` is a ``_Shaped``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, item: tuple[type, str]) -> type:
        array, axes = item
        members = {"kind": self.name, "array": array, "axes": axes}
        return _Shaped(f"{self.name}[{array.__name__}, '{axes}']", (), members)


if TYPE_CHECKING:
    from jax import Array
    from jax.typing import DTypeLike
    from jaxtyping import Float, Int, Int8
    from numpy import dtype as DType
    from numpy import generic as NumPyNumber
    from numpy import ndarray as NumPyArray
else:

    class Array(metaclass=_Named):
        """A JAX array, traced or not."""

        home = ("jax", "Array")

    class NumPyArray(metaclass=_Named):
        """A NumPy array."""

        home = ("numpy", "ndarray")

    class NumPyNumber(metaclass=_Named):
        """A NumPy scalar."""

        home = ("numpy", "generic")

    class DType(metaclass=_Named):
        """The dtype of an array."""

        home = ("numpy", "dtype")

    DTypeLike = object
    Float, Int, Int8 = _Kind("Float"), _Kind("Int"), _Kind("Int8")


def _original(named: Any) -> type | None:  # noqa: ANN401
    """The class itself; None before its library is imported."""
    library, name = named.home
    return getattr(sys.modules.get(library), name, None)


@functools.cache
def resolved(hint: Any) -> Any:  # noqa: ANN401
    """The jaxtyping type of an annotation of this module; imports JAX.

    Args:
      hint: Any annotation.

    Returns:
      The same annotation, if it is not of this module.
    """
    if not isinstance(hint, _Shaped):
        return hint
    import jax  # noqa: F401  (so that there is a class to name)
    import jaxtyping

    shaped: Any = hint
    return getattr(jaxtyping, shaped.kind)[_original(shaped.array), shaped.axes]
