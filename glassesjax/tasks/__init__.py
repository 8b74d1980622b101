"""Prompts and tasks: families of runs, files of text, and what toys are trained on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
