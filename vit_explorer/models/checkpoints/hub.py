"""Whether the weights hub can be reached, asked once and quickly."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

CONNECT_SECONDS = 3.0


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Use the hub's cache alone while the hub can't be reached.

    The hub's client would retry each file for half a minute before it says so.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    if getproxies():  # only the proxy knows
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname or "", port), CONNECT_SECONDS):
            return True
    except OSError:
        return False
