"""Who may ask: of all pages this one alone, and whoever logged in where that is asked for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from vit_explorer.errors import OptionError
from vit_explorer.page.proxy import path_below
from vit_explorer.page.static_files import languages
from vit_explorer.sentences import Sentence, keyed

READING = ("GET", "HEAD", "OPTIONS")
# What a browser says of a request's origin: this page, or its reader by the address bar.
OWN = ("same-origin", "none")
# Nothing in them is anyone's: browsers ask for some without saying who asks.
OPEN = ("/explorer/static/", "/manifest.json", "/worker.js", "/favicon.ico")
TOKEN = "token"  # noqa: S105 - its name in an address, not itself
VARIABLE = "VIT_EXPLORER_TOKEN"
COOKIE_SECONDS = 30 * 24 * 3600


class OwnOrigin:
    """ASGI middleware: what another site's page sends is refused, wherever it would be written.

    A browser says by Sec-Fetch-Site or Origin where a request comes from; a program says neither
    and is let through: it has no reader whose login it could borrow. `hosts` are names of this page
    at proxies, whose own name for it may be another.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self.app = app
        self.hosts = {host.casefold() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in READING:
            headers = Headers(scope=scope)
            if not self._is_own(headers):
                said = Sentence(
                    "error.origin",
                    "This was sent by a page of another address, {origin}, which may not write "
                    "here; open the page itself, or name its host with --allow-host.",
                    origin=headers.get("origin", headers.get("sec-fetch-site", "")),
                )
                await JSONResponse({"error": keyed(said)}, 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_own(self, headers: Headers) -> bool:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if site is not None:
            return site in OWN
        if origin is None:
            return True
        try:
            there = urlsplit(origin)
            named = there.hostname or ""
        except ValueError:
            return False
        return there.netloc.casefold() == headers.get("host", "").casefold() or named in self.hosts


@dataclass(frozen=True)
class Login:
    """What lets a visitor in: a token in the link, or a user's name and password.

    `key` is what a browser is given to keep, and ends with the server.
    """

    token: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @classmethod
    def by_token(cls) -> Login:
        """By the token that VIT_EXPLORER_TOKEN holds, else by a new one."""
        return cls(token=os.environ.get(VARIABLE) or secrets.token_urlsafe(24))

    @classmethod
    def by_file(cls, given: str) -> Login:
        """By "USER:FILE", where the file's first line is the password.

        Raises:
            OptionError: no such file, or nothing in it, or no user.
        """
        user, colon, file = given.partition(":")
        try:
            lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError, RuntimeError):
            lines = []
        if not (user and colon and lines and lines[0]):
            raise OptionError(
                "error.auth",
                "--auth was {given!r}, expected USER:FILE with a file whose first line is the "
                "password.",
                given=given,
            )
        return cls(user=user, password=lines[0])

    def link(self, address: str) -> str:
        """The address that lets in whoever opens it; a password is not told."""
        return f"{address}?{urlencode({TOKEN: self.token})}" if self.token else address

    def headers(self) -> dict[str, str]:
        """What lets in a program."""
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        given = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {given}"}

    def admits(self, scope: Scope) -> bool:
        """Whether a request brings what lets in."""
        headers = Headers(scope=scope)
        kind, _, given = headers.get("authorization", "").partition(" ")
        kept = cookie_parser(headers.get("cookie", "")).get(self.cookie(scope), "")
        if _same(kept, self.key):
            return True
        if self.user:
            return kind.casefold() == "basic" and self._knows(given)
        brought = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get(TOKEN, "")
        return _same(brought, self.token) or (kind == "Bearer" and _same(given, self.token))

    def cookie(self, scope: Scope) -> str:
        """The name of what a browser keeps: cookies of one host meet servers at all its ports."""
        port = (scope.get("server") or ("", 0))[1]
        return f"vit-explorer-{port}"

    def _knows(self, given: str) -> bool:
        try:
            sent = base64.b64decode(given, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        return _same(sent, f"{self.user}:{self.password}")


class Gate:
    """ASGI middleware: lets in those whom `login` admits; others are asked for what does."""

    def __init__(self, app: ASGIApp, login: Login) -> None:
        self.app = app
        self.login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_below(scope) if scope["type"] == "http" else OPEN[0]
        if path.startswith(OPEN):
            await self.app(scope, receive, send)
        elif not self.login.admits(scope):
            await self._refusal(scope)(scope, receive, send)
        elif self._brings_token(scope) and path == "/" and scope["method"] == "GET":
            await self._kept(scope)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    @staticmethod
    def _brings_token(scope: Scope) -> bool:
        return f"{TOKEN}=".encode() in scope["query_string"]

    def _kept(self, scope: Scope) -> Response:
        """The page without the token in its address, where it would be bookmarked and shared."""
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        rest = urlencode([pair for pair in asked if pair[0] != TOKEN])
        place = f"{scope.get('root_path', '')}/"
        answer = RedirectResponse(quote(place) + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(
            self.login.cookie(scope), self.login.key, max_age=COOKIE_SECONDS, path=place,
            httponly=True, samesite="lax", secure=scope.get("scheme") == "https",
        )  # fmt: skip
        return answer

    def _refusal(self, scope: Scope) -> Response:
        if self.login.user:
            said = Sentence("error.login.user", "This page is for those who have its password.")
            asks = 'Basic realm="ViT Explorer", charset="UTF-8"'
            return JSONResponse({"error": keyed(said)}, 401, {"WWW-Authenticate": asks})
        if "text/html" in Headers(scope=scope).get("accept", ""):
            return HTMLResponse(_form(), 401)
        said = Sentence(
            "error.login.token",
            "This page is for those who have its link; open the address that its server printed, "
            "with ?token=… at its end, or send Authorization: Bearer and the token.",
        )
        return JSONResponse({"error": keyed(said)}, 401, {"WWW-Authenticate": "Bearer"})


def is_beyond(host: str) -> bool:
    """Whether who listens there is reached from other machines."""
    if host.casefold() == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def _same(given: str, expected: str) -> bool:
    """Compared in a time that says nothing of how much was right."""
    one, other = (hashlib.sha256(text.encode()).digest() for text in (given, expected))
    return hmac.compare_digest(one, other)


def _form() -> str:
    """Where the token is asked for, in each language that has the words."""
    words = {language.code: language.words for language in languages()}
    said = [
        f'<p lang="{code}">{told["login.token"]}</p>'
        for code, told in words.items()
        if "login.token" in told
    ]
    return (
        '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width">'
        "<title>ViT Explorer</title><style>body{font:16px/1.5 system-ui;max-width:34rem;"
        "margin:15vh auto;padding:0 1rem}input{font:inherit;width:100%}</style>"
        f'<h1>ViT Explorer</h1>{"".join(said)}<form><label>token <input name="{TOKEN}" '
        'type="password" autocomplete="current-password" autofocus required></label></form>'
    )
