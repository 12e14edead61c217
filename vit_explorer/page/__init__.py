"""The page: the only part that imports Gradio."""

from vit_explorer.page.server import build_app, serve
from vit_explorer.page.state.session import Workbench
from vit_explorer.training.film import find_film

__all__ = ["Workbench", "build_app", "find_film", "serve"]
