"""The bounded KV cache (multi-state RNN): eviction policies, prefill, generation and replay."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
