"""Arrays as annotations name them, and as a check sees them, without importing JAX.

Importing JAX takes seconds, and a setting is refused without it. Where JAX was not imported no
value is an array of it.
"""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jax import Array as Array
    from jax.typing import DTypeLike as DTypeLike
else:

    class _Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            jax = sys.modules.get("jax")
            return hasattr(jax, "Array") and isinstance(value, jax.Array)

    class Array(metaclass=_Kind):
        """Any array of JAX, also one that is being traced: ``jax.Array``, by another name."""

    DTypeLike = object


def is_kind(dtype: Any, kind: type[np.generic]) -> bool:  # noqa: ANN401  (JAX has types of its own)
    """Whether numbers are of a kind, those of JAX's narrow formats too.

    Args:
      dtype: Of an array.
      kind: An abstract type such as ``np.floating``.

    Returns:
      The truth value.
    """
    if _is_numpys(dtype):
        return np.issubdtype(dtype, kind)
    import jax.numpy as jnp

    return jnp.issubdtype(dtype, kind)


def epsilon(dtype: Any) -> float:  # noqa: ANN401
    """Distance from 1 to the next larger number of a type of floats.

    Args:
      dtype: NumPy's own, or one of JAX's narrow formats.

    Returns:
      A power of two.
    """
    if _is_numpys(dtype):
        return float(np.finfo(dtype).eps)
    import jax.numpy as jnp

    return float(jnp.finfo(dtype).eps)


def _is_numpys(dtype: object) -> bool:
    """Whether NumPy itself knows the kind of number, which it does of no narrow format."""
    return isinstance(dtype, np.dtype) and dtype.isbuiltin == 1


def traced_errors() -> tuple[type[Exception], ...]:
    """What NumPy's functions raise for a value that is being traced and has no numbers yet.

    Returns:
      A class of JAX; none where nothing can be traced, for ``except`` takes an empty tuple.
    """
    jax = sys.modules.get("jax")
    return () if jax is None else (jax.errors.TracerArrayConversionError,)
