"""Compiled parts run as they were written while they are watched: a graph hides what is in it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_lending = threading.Lock()
_borrowers: list[Any] = []
_stance: list[Any] = []


@contextmanager
def uncompiled() -> Iterator[None]:
    """Torch's stance is one for all threads: lent to the first to come, given back by the last."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and importing it takes seconds
        yield
        return
    own = object()
    with _lending:
        if not _borrowers:
            _stance.append(torch.compiler.set_stance("force_eager"))
        _borrowers.append(own)
    try:
        yield
    finally:
        with _lending:
            _borrowers.remove(own)
            if not _borrowers:
                _stance.pop().__exit__(None, None, None)
