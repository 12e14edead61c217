"""The page: the only part that imports Gradio."""

from vit_explorer.training.film import find_film
from vit_explorer.ui.server import build_app, serve
from vit_explorer.ui.workbench import Workbench

__all__ = ["Workbench", "build_app", "find_film", "serve"]
