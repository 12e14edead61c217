"""Where the page stands for those who open it: at a proxy, under a name and prefix of its own."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import Scope

from vit_explorer.errors import OptionError

PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[\w.~!$&'()*+,;=:@%-]+)+", re.ASCII)
# Read here once and for all; Gradio would read the first and the last anew, each in its own way.
READ = (b"x-forwarded-host", b"x-forwarded-prefix", b"x-gradio-server")


def check_root_path(given: str) -> str:
    """The prefix without a slash at its end; nothing for the root.

    Raises:
        OptionError: no path, or one that begins as the page's own addresses do.
    """
    from gradio.routes import INTERNAL_ROUTES

    prefix = given.rstrip("/")
    if prefix and not PREFIX.fullmatch(prefix):
        raise OptionError(
            "error.root.path",
            "The root path was {path!r}, expected what visitors see before the page's own path, "
            "such as /vit.",
            path=given,
        )
    # Such a path could be read with the prefix and without.
    if prefix and prefix.split("/")[1] in {"explorer", "worker.js", *INTERNAL_ROUTES}:
        raise OptionError(
            "error.root.taken",
            "The root path was {path!r}, which begins as the page's own addresses do; choose "
            "another, or let the proxy send it as X-Forwarded-Prefix.",
            path=given,
        )
    return prefix


def asked_hosts(headers: Headers) -> list[str]:
    """Every name a request was sent to: to this server, and before that to a proxy."""
    return [headers.get("host", ""), *filter(None, (_first(headers, "x-forwarded-host"),))]


def as_visited(scope: Scope, root_path: str = "") -> Scope:
    """The request as its visitor sent it, whatever a proxy has made of its name and path.

    `root_path` of the scope is the prefix that the page stands under for the visitor, as
    `root_path` or `X-Forwarded-Prefix` says it; `path` begins with it, as ASGI has it. With
    `root_path` a proxy may leave the prefix on a path or take it off; who sends
    `X-Forwarded-Prefix` has taken it off.
    """
    headers = Headers(scope=scope)
    path: str = scope["path"]
    prefix = root_path
    if not prefix:
        sent = _first(headers, "x-forwarded-prefix").rstrip("/")
        prefix = sent if PREFIX.fullmatch(sent) else ""
    stands = bool(root_path) and (path + "/").startswith(f"{prefix}/")
    raw: bytes = scope.get("raw_path") or path.encode()
    kept = [(name, value) for name, value in scope["headers"] if name not in READ]
    host = _first(headers, "x-forwarded-host")
    if host:
        kept = [pair for pair in kept if pair[0] != b"host"] + [(b"host", host.encode("latin-1"))]
    return {
        **scope,
        "root_path": prefix,
        "path": path if stands else prefix + path,
        "raw_path": raw if stands else prefix.encode() + raw,
        "headers": kept,
    }


def path_below(scope: Scope) -> str:
    """The page's own part of a request's path: what follows the prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _first(headers: Headers, name: str) -> str:
    """What the proxy next to the visitor said, where several stand in a row."""
    return headers.get(name, "").split(",")[0].strip()
