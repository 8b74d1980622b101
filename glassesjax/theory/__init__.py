"""The papers' statements as pure functions of arrays and numbers, independent of any model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
