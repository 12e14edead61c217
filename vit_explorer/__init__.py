"""ViT Explorer: see how a Vision Transformer reads a picture, and whether to trust what you see."""

import lazy_loader

# Names and the rooms they come from are listed in __init__.pyi. A room is imported where a name of
# it is first used: torch, timm and the rest take seconds, and the help of a command needs none.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
