"""Where the page listens: an address in use is told, and one of IPv6 is an address too."""

from __future__ import annotations

import socket

import pytest

from vit_explorer.errors import OptionError
from vit_explorer.page.server import _listen, _shown


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_told(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, 0), family=family).close()
    except OSError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    with _listen(host, 0) as first:
        port = first.getsockname()[1]
        with socket.create_connection((host, port), timeout=5):
            pass  # whoever opens the address that is told is heard
        with pytest.raises(OptionError, match=rf"at {host}:{port} \(Address already in use\)"):
            _listen(host, port)
    assert _shown(host) == (f"[{host}]" if family is socket.AF_INET6 else host)
