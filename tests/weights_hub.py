"""A hub of weights on this machine, whose line is as good or bad as a test wants it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "c0ffee" + "0" * 34
PIECE = 16_384


@dataclass
class WeightsHub:
    """What it has, as {"ORG/NAME": {file: bytes}}, and how its line is.

    Attributes:
        pace: seconds before each piece of `PIECE` bytes.
        cut_after: bytes of an answer after which the line breaks.
        silent_after: bytes of an answer after which nothing comes any more.
        spoilt: what is sent has another content than is announced.
        whole: it knows no ranges, and sends all of a file each time.
        asked: of each file that was sent, its name and the range that was asked for.
    """

    has: dict[str, dict[str, bytes]]
    pace: float = 0.0
    cut_after: int | None = None
    silent_after: int | None = None
    spoilt: bool = False
    whole: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def serving(self) -> Iterator[WeightsHub]:
        handler = type("Handler", (_Handler,), {"hub": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            self.address = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield self
            finally:
                self.over.set()
                server.shutdown()

    def meant(self, monkeypatch: pytest.MonkeyPatch, cache: object) -> None:
        """Have this process's client mean this hub and a cache of its own."""
        template = "{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", self.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{self.address}/{template}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    def environment(self, home: object) -> dict[str, str]:
        """The same for a process that is started."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: WeightsHub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, *, head: bool) -> None:
        _, _, about = self.path.partition("/api/models/")
        if about in self.hub.has:
            siblings = [{"rfilename": file} for file in self.hub.has[about]]
            told = json.dumps({"id": about, "sha": COMMIT, "siblings": siblings}).encode()
            self._begin(200, {"Content-Type": "application/json", "Content-Length": len(told)})
            self.wfile.write(told)
            return
        place, _, file = self.path.strip("/").partition("/resolve/")
        _, _, file = file.partition("/")
        content = self.hub.has.get(place, {}).get(file)
        if content is None:
            code = "EntryNotFound" if place in self.hub.has else "RepoNotFound"
            self._begin(404, {"X-Error-Code": code, "Content-Length": 0})
        else:
            self._send(file, content, head=head)

    def _send(self, file: str, content: bytes, *, head: bool) -> None:
        asked = self.headers.get("Range")
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not self.hub.whole else 0
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Content-Length": len(content) - first,
        }
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._begin(206 if first else 200, headers)
        if head:
            return
        self.hub.asked.append((file, asked))
        sent = bytes(byte ^ 1 for byte in content) if self.hub.spoilt else content
        for start in range(first, len(sent), PIECE):
            gone = start - first
            if self.hub.cut_after is not None and gone >= self.hub.cut_after:
                self.close_connection = True
                return
            if self.hub.silent_after is not None and gone >= self.hub.silent_after:
                self.hub.over.wait(30)
            time.sleep(self.hub.pace)
            try:
                self.wfile.write(sent[start : start + PIECE])
            except OSError:  # whoever asked has left
                self.close_connection = True
                return

    def _begin(self, status: int, headers: dict[str, Any]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
