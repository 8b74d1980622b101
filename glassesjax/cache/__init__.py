"""The multi-state cache: what a Transformer remembers when it may not remember everything."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
