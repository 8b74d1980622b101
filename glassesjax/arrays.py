"""Arrays as annotations name them, without importing JAX, NumPy or jaxtyping.

Importing these takes seconds, and settings are checked without them. Modules that compute import
``Array`` and the kinds of numbers from jaxtyping; those that hold values which settings name import
them from here. A check at run time is jaxtyping's in both.
"""

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax import Array as Array
    from jax.typing import DTypeLike as DTypeLike
    from jaxtyping import Float as Float
    from jaxtyping import Int as Int
    from jaxtyping import Int8 as Int8
    from numpy import dtype as DType
    from numpy import generic as NumPyNumber
    from numpy import ndarray as NumPyArray
else:

    class _Named(type):
        """A class of another library: before that is imported no value is of it."""

        def __instancecheck__(cls, value: object) -> bool:
            return (kind := original(cls)) is not None and isinstance(value, kind)

    class Array(metaclass=_Named):
        """``jax.Array``: also one that is being traced."""

        home = ("jax", "Array")

    class NumPyArray(metaclass=_Named):
        """``numpy.ndarray``."""

        home = ("numpy", "ndarray")

    class NumPyNumber(metaclass=_Named):
        """``numpy.generic``: a number with a type of NumPy."""

        home = ("numpy", "generic")

    class DType(metaclass=_Named):
        """``numpy.dtype``."""

        home = ("numpy", "dtype")

    DTypeLike = object

    class _Shaped(type):
        """Arrays of some axes and kind of number, as jaxtyping checks them."""

        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, resolved(cls))

    class _Kind:
        def __init__(self, name: str) -> None:
            self.name = name

        def __getitem__(self, item: tuple[type, str]) -> type:
            array, axes = item
            told = {"kind": self.name, "array": array, "axes": axes}
            return _Shaped(f"{self.name}[{array.__name__}, '{axes}']", (), told)

    Float, Int, Int8 = map(_Kind, ("Float", "Int", "Int8"))


def original(kind: Any) -> type | None:  # noqa: ANN401
    """The class that one of this module stands for.

    Args:
      kind: ``Array``, ``NumPyArray``, ``NumPyNumber`` or ``DType``.

    Returns:
      The class; None before its library is imported.
    """
    library, name = kind.home
    return getattr(sys.modules.get(library), name, None)


@functools.cache
def resolved(hint: Any) -> Any:  # noqa: ANN401
    """An annotation of this module as jaxtyping has it; imports JAX.

    Args:
      hint: Any annotation.

    Returns:
      The same, if it is none of this module.
    """
    if TYPE_CHECKING or not isinstance(hint, _Shaped):
        return hint
    import jax  # noqa: F401  (so that there is a class to name)
    import jaxtyping

    return getattr(jaxtyping, hint.kind)[original(hint.array), hint.axes]
