"""Training: recipes, data, the loop, and measuring what came out."""

import lazy_loader

# As in the package's own __init__: the loop and its libraries are imported by those who train.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
