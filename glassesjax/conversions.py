"""Values as arrays, and numbers of NumPy and JAX as Python's.

Annotations and borders import this where a value is an array, or an array is wanted: it is what of
them needs JAX.
"""

import numbers
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
import numpy as np


@no_type_check
def array_of(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """An array of JAX or of NumPy, of the axes and the kind of number that a type names.

    Returns:
      The array; None where the value is none of that type.
    """
    new = value if isinstance(value, jax.Array) else _converted(value, hint)
    if new is None:
        return None
    if hint.array_type is np.ndarray:
        try:
            new = np.asarray(new)
        except jax.errors.TracerArrayConversionError:
            return None
    if "int32" in hint.dtypes and str(new.dtype) not in hint.dtypes:
        new = _signed(new)
    # A number stands for an array of any shape, and says nothing of the others' shapes.
    spread = not new.ndim and hint.dim_str.startswith("*") and " " not in hint.dim_str
    fits = str(new.dtype) in hint.dtypes if spread else isinstance(new, hint)
    return new if fits else None


def _converted(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """What is no array of JAX as one, or as one of NumPy where that is wanted."""
    if not isinstance(value, numbers.Number | np.ndarray | np.generic | list | tuple):
        return None
    if not (typed := isinstance(value, np.ndarray | np.generic)) and _has_truth(value):
        value = value if "bool" in hint.dtypes else None
    try:
        array = np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return _stacked(value, hint)
    except (ValueError, TypeError, jax.errors.JAXTypeError):
        return None
    if array.dtype.kind not in "iufb" and not jnp.issubdtype(array.dtype, jnp.floating):
        return None
    if not typed and not array.size:
        array = array.astype(np.int32 if "int32" in hint.dtypes else np.float64)
    if not typed and array.dtype.kind in "iu" and _floats_only(hint):
        array = array.astype(np.float64)  # of numbers without a type, whole ones are numbers too
    if hint.array_type is np.ndarray:
        return array
    # A number of Python takes the type of what it meets, as it does everywhere in JAX.
    new = jnp.asarray(array if typed or array.ndim else array.item())
    if array.dtype.kind in "iu" and not np.array_equal(np.asarray(new), array):
        return None  # 64-bit integers would wrap
    return new


def _stacked(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """A list of numbers of which some are being traced."""
    try:
        new = jnp.asarray(value)
    except (ValueError, TypeError):
        return None
    whole = jnp.issubdtype(new.dtype, jnp.integer) and _floats_only(hint)
    return new.astype(jnp.result_type(float)) if whole else new


def _floats_only(hint: Any) -> bool:  # noqa: ANN401
    return "float32" in hint.dtypes and "int32" not in hint.dtypes


def _signed(array: Any) -> Any:  # noqa: ANN401  (an array of JAX or NumPy)
    """Unsigned integers as int32, but for those that would wrap; traced ones have no values yet."""
    if not jnp.issubdtype(array.dtype, jnp.unsignedinteger):
        return array
    try:
        wraps = np.any(np.asarray(array) > np.iinfo(np.int32).max)
    except jax.errors.TracerArrayConversionError:
        wraps = False
    return array if wraps else array.astype(np.int32)


def _has_truth(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, list | tuple):
        return any(map(_has_truth, value))
    return isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == np.bool_


def opened(value: Any, *, rows: bool) -> list[Any]:  # noqa: ANN401
    """An array as a list.

    Args:
      value: Of JAX or NumPy.
      rows: Whether of its rows, or else of Python's numbers where these are known.
    """
    try:
        return list(value) if rows else np.asarray(value).tolist()
    except jax.errors.TracerArrayConversionError:
        return list(value)


def plain_number(value: Any) -> Any:  # noqa: ANN401
    """A number of NumPy as Python's, also one of a narrow format.

    Returns:
      A truth value, whole number or float; other values as they are.
    """
    for kind, plain in ((np.bool_, bool), (jnp.integer, int), (jnp.floating, float)):
        if jnp.issubdtype(value.dtype, kind):
            return plain(value)
    return value


def is_scalar(value: Any, kind: type) -> bool:  # noqa: ANN401
    """Whether this is an array of one number, perhaps one that is being traced.

    Args:
      value: An array of JAX.
      kind: An abstract type such as ``np.floating``.
    """
    return not value.ndim and jnp.issubdtype(value.dtype, kind)


def numbers_of(value: Any) -> np.ndarray | None:  # noqa: ANN401
    """Numbers as an array of NumPy with an axis or more.

    Returns:
      The array; None where the numbers are being traced and have no values yet.
    """
    try:
        return np.atleast_1d(np.asarray(value))
    except jax.errors.TracerArrayConversionError:
        return None


def slack(dtype: np.dtype) -> float:
    """What a computed number may miss an end of its domain by.

    Shares are made by a softmax or a quotient, and entropies by sums of them: each of a few
    operations on numbers of size one adds a unit roundoff, half of the spacing at one.

    Returns:
      Eight unit roundoffs of a type of floats; 0 of others.
    """
    return 4 * float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
