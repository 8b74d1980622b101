"""Conversion of values to arrays, and of NumPy and JAX scalars to Python numbers.

This is the part of ``annotations`` and ``borders`` that needs JAX; they import it when a value is
an array or an array is expected.
"""

import numbers
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
import numpy as np


@no_type_check
def array_of(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """Converts a value to a JAX or NumPy array with the axes and dtype of an annotation.

    Returns:
      The array; None where the value does not fit.
    """
    new = value if isinstance(value, jax.Array) else _converted(value, hint)
    if new is None:
        return None
    if hint.array_type is np.ndarray:
        try:
            new = np.asarray(new)
        except jax.errors.TracerArrayConversionError:
            return None
    unsigned = jnp.issubdtype(new.dtype, jnp.unsignedinteger)
    if "int32" in hint.dtypes and str(new.dtype) not in hint.dtypes and unsigned:
        # As int32, unless a concrete value would wrap.
        try:
            wraps = np.any(np.asarray(new) > np.iinfo(np.int32).max)
        except jax.errors.TracerArrayConversionError:
            wraps = False
        new = new if wraps else new.astype(np.int32)
    # A scalar is accepted for an array of any shape, and does not fix axes of other arguments.
    spread = not new.ndim and hint.dim_str.startswith("*") and " " not in hint.dim_str
    fits = str(new.dtype) in hint.dtypes if spread else isinstance(new, hint)
    return new if fits else None


def _converted(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """Converts a value other than a JAX array to one, or to NumPy if annotated so."""
    if not isinstance(value, numbers.Number | np.ndarray | np.generic | list | tuple):
        return None
    if not (typed := isinstance(value, np.ndarray | np.generic)) and _has_truth(value):
        value = value if "bool" in hint.dtypes else None
    try:
        array = np.asarray(value)
    except jax.errors.TracerArrayConversionError:  # a list of numbers of which some are traced
        try:
            new = jnp.asarray(value)
        except (ValueError, TypeError):
            return None
        whole = jnp.issubdtype(new.dtype, jnp.integer) and _floats_only(hint)
        return new.astype(jnp.result_type(float)) if whole else new
    except (ValueError, TypeError, jax.errors.JAXTypeError):
        return None
    if array.dtype.kind not in "iufb" and not jnp.issubdtype(array.dtype, jnp.floating):
        return None
    if not typed and not array.size:
        array = array.astype(np.int32 if "int32" in hint.dtypes else np.float64)
    if not typed and array.dtype.kind in "iu" and _floats_only(hint):
        array = array.astype(np.float64)  # Python integers are accepted as floats
    if hint.array_type is np.ndarray:
        return array
    # A Python number stays weakly typed, as everywhere in JAX.
    new = jnp.asarray(array if typed or array.ndim else array.item())
    if array.dtype.kind in "iu" and not np.array_equal(np.asarray(new), array):
        return None  # 64-bit integers would wrap
    return new


def _floats_only(hint: Any) -> bool:  # noqa: ANN401
    return "float32" in hint.dtypes and "int32" not in hint.dtypes


def _has_truth(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, list | tuple):
        return any(map(_has_truth, value))
    return isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == np.bool_


def opened(value: Any, *, rows: bool) -> list[Any]:  # noqa: ANN401
    """Converts an array to a list.

    Args:
      value: A JAX or NumPy array.
      rows: True for a list of rows, else of Python numbers where these are concrete.
    """
    try:
        return list(value) if rows else np.asarray(value).tolist()
    except jax.errors.TracerArrayConversionError:
        return list(value)


def plain_number(value: Any) -> Any:  # noqa: ANN401
    """Converts a NumPy scalar to a Python number, also one of a narrow dtype.

    Returns:
      A bool, int or float; other values unchanged.
    """
    for kind, plain in ((np.bool_, bool), (jnp.integer, int), (jnp.floating, float)):
        if jnp.issubdtype(value.dtype, kind):
            return plain(value)
    return value


def is_scalar(value: Any, kind: type) -> bool:  # noqa: ANN401
    """Whether an array, traced or not, has rank 0 and a dtype of some kind.

    Args:
      value: A JAX array.
      kind: An abstract type such as ``np.floating``.
    """
    return not value.ndim and jnp.issubdtype(value.dtype, kind)


def numbers_of(value: Any) -> np.ndarray | None:  # noqa: ANN401
    """Numbers as a NumPy array of rank 1 or more.

    Returns:
      The array; None where the numbers are traced.
    """
    try:
        return np.atleast_1d(np.asarray(value))
    except jax.errors.TracerArrayConversionError:
        return None


def slack(dtype: np.dtype) -> float:
    """Rounding tolerance of a computed number at an end of its domain.

    Shares come from a softmax or a quotient, and entropies from sums of them: each of a few
    operations on numbers of size one adds a unit roundoff, half of the spacing at one.

    Returns:
      Eight unit roundoffs of a floating-point dtype; 0 of others.
    """
    return 4 * float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
