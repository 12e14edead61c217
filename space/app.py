"""Start the page as a public demo: no training, no downloads, one host name."""

from __future__ import annotations

import os
from collections.abc import Mapping


def arguments(environment: Mapping[str, str]) -> list[str]:
    """The command's arguments; `SPACE_HOST` is the name by which visitors come."""
    host = environment.get("SPACE_HOST")
    port = environment.get("GRADIO_SERVER_PORT", "7860")
    allowed = ["--allow-host", host] if host else []
    return ["app", "--host", "0.0.0.0", "--no-login", "--port", port, *allowed]  # noqa: S104 (it is meant)


if __name__ == "__main__":
    # Read by the hub's client when it is imported, so before the page is.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from vit_explorer.__main__ import run

    run(arguments(os.environ))
