"""The page's own files: scripts, styles, words and icons, sent as they lie in the package."""

from __future__ import annotations

import mimetypes
from importlib import resources
from pathlib import Path

# Some systems map .js to text/plain, which browsers refuse as a module.
mimetypes.add_type("text/javascript", ".js")


def static_folder() -> Path:
    """Where they lie; the server sends the folder at `/explorer/static`."""
    return Path(str(resources.files("vit_explorer.page"))) / "client"
