"""Classes under other names for a while, as somebody may rename them tomorrow."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def renamed(*classes: type) -> Iterator[None]:
    before = [(kind, kind.__name__, kind.__qualname__) for kind in classes]
    for kind, name, qualified in before:
        kind.__name__, kind.__qualname__ = f"Other{name}", f"Other{qualified}"
    try:
        yield
    finally:
        for kind, name, qualified in before:
            kind.__name__, kind.__qualname__ = name, qualified
