"""Arrays as annotations name them, without importing JAX, NumPy or jaxtyping.

Importing these takes seconds, and settings are checked without them. Modules that compute import
``Array`` and the kinds of numbers from jaxtyping; those that hold values which settings name import
them from here. What is checked at run time is the same.
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
    """A class of another library, its ``home``: before that is imported no value is of it."""

    def __instancecheck__(cls, value: object) -> bool:
        return (kind := _original(cls)) is not None and isinstance(value, kind)


class _Shaped(type):
    """Arrays of some axes and kind of number: the class of jaxtyping that ``resolved`` gives."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, resolved(cls))


class _Kind:
    """A kind of number of jaxtyping; ``Float[Array, "seq dim"]`` is a ``_Shaped``."""

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
        """An array of JAX, also one that is being traced."""

        home = ("jax", "Array")

    class NumPyArray(metaclass=_Named):
        """An array of NumPy."""

        home = ("numpy", "ndarray")

    class NumPyNumber(metaclass=_Named):
        """A number with a type of NumPy."""

        home = ("numpy", "generic")

    class DType(metaclass=_Named):
        """The type of an array's numbers."""

        home = ("numpy", "dtype")

    DTypeLike = object
    Float, Int, Int8 = _Kind("Float"), _Kind("Int"), _Kind("Int8")


def _original(named: Any) -> type | None:  # noqa: ANN401
    """The class itself; None before its library is imported."""
    library, name = named.home
    return getattr(sys.modules.get(library), name, None)


@functools.cache
def resolved(hint: Any) -> Any:  # noqa: ANN401
    """An annotation of this module as jaxtyping has it; imports JAX for it.

    Args:
      hint: Any annotation.

    Returns:
      The same, if it is none of this module.
    """
    if not isinstance(hint, _Shaped):
        return hint
    import jax  # noqa: F401  (so that there is a class to name)
    import jaxtyping

    shaped: Any = hint
    return getattr(jaxtyping, shaped.kind)[_original(shaped.array), shaped.axes]
