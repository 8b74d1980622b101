"""What the last token of a decoder-only Transformer can still see.

``model`` opens or builds a decoder, ``trace`` turns it into arrays, ``theory`` holds the papers'
statements on arrays, ``cache`` bounds what a decoder remembers, ``precision`` has the number
formats, ``tasks`` the prompts. Each is imported where it is first named.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
