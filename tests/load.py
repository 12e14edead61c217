"""Many visitors at once, by hand: what they wait for, what fails, and what the server holds after.

    OMP_NUM_THREADS=1 python -m tests.load
    OMP_NUM_THREADS=1 python -m tests.load --requests 20000 --minutes 600 --model bundled

Each visitor opens the page, sends pictures of its own, asks for explanations and their numbers,
changes the model, asks for a slow map, hangs up on one, and leaves; another comes then. They differ
in their address, as a proxy tells it. The server is a process of its own on this machine, by itself
given a small ViT with random weights; whatever else this machine does is in the waits.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

from tests.browser import APP, running_app, write_checkpoint

# Requests in which the server warms up; what it holds then is what growth is told from.
WARM = 500
EVERY = 2.0  # seconds between two looks at the server
BYTES = {"Content-Type": "application/octet-stream"}
# What visitors do, and how often: "cheap" asks the most questions a second.
MIXES = {
    "all": {"explain": 8, "numbers": 8, "switch": 1, "map": 2, "cancel": 2, "leave": 1},
    "cheap": {"explain": 12, "numbers": 4, "leave": 1},
}
# The page's server with memory as glibc manages it by itself.
UNMANAGED = """
from vit_explorer.page.state import freed_memory
freed_memory._glibc = lambda: None
from vit_explorer.__main__ import run
run()
"""
SIDES = (300, 800, 2000)
SLOW_MAPS = ("rise", "occlusion")
NUMBERS = (
    "heads",
    "layers/0",
    "layers/3",
    "tokens",
    "positions",
    "picture",
    "seen",
    "queries/5/from",
)


@dataclass
class Seen:
    """What was measured: waits in seconds by what was asked, failures, and looks at the server."""

    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    by_visitor: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: Counter[str] = field(default_factory=Counter)
    looks: list[dict[str, float]] = field(default_factory=list)
    requests: int = 0
    gone: int = 0


class Visitor:
    """One who uses the page; `number` stays with whoever sits there after."""

    def __init__(
        self, number: int, client: httpx.AsyncClient, seen: Seen, models: list[str]
    ) -> None:
        self.number, self.client, self.seen, self.models = number, client, seen, models
        self.chance = random.Random(number)
        self.come()

    def come(self) -> None:
        """Somebody new, who has seen nothing."""
        self.model = self.models[0]
        self.result: dict[str, Any] | None = None
        self.client.cookies.clear()

    async def act(self, what: str) -> None:
        """One thing of the mix; what goes wrong is counted."""
        try:
            await getattr(self, what)()
        except (httpx.HTTPError, KeyError, ValueError) as error:
            self.seen.failures[f"{what}: {type(error).__name__} {error}"[:120]] += 1

    async def explain(self) -> None:
        """A picture that nobody sent before, and its explanation."""
        picture = (await self._send(self._picture())).json()["picture"]
        start = time.monotonic()
        order = {"picture": picture, "model": self.model}
        async for line in self._lines("explain", "explanations", order):
            self.result = line.get("result", self.result)
        self.seen.by_visitor[self.number].append(time.monotonic() - start)

    async def numbers(self) -> None:
        """Some of what the page's views fetch of the last result."""
        if self.result is None:
            await self.explain()
        assert self.result is not None
        for part in self.chance.sample(NUMBERS, 3):
            answer = await self._get("numbers", f"explorer/results/{self.result['key']}/{part}")
            if answer.status_code == 404 and self._is_gone(answer):
                return
            answer.raise_for_status()

    async def switch(self) -> None:
        self.model = self.chance.choice(self.models)
        await self.explain()

    async def map(self) -> None:
        """A map of many passes, to its end."""
        await self._map(None)

    async def cancel(self) -> None:
        """The same, given up at once or a moment later."""
        await self._map(self.chance.uniform(0, 1))

    async def leave(self) -> None:
        """Close the page; the next opens it anew."""
        self.come()
        for path in ("", "explorer/setup", "explorer/static/app/main.js"):
            (await self._get("open", path)).raise_for_status()

    async def _map(self, patience: float | None) -> None:
        if self.result is None:
            await self.explain()
        assert self.result is not None
        path = f"results/{self.result['key']}/analyses"
        order = {"ask": "map", "name": self.chance.choice(SLOW_MAPS)}
        name = "map" if patience is None else "cancelled map"
        try:
            async with asyncio.timeout(patience):
                async for _ in self._lines(name, path, order):
                    pass
        except TimeoutError:
            pass
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404 or not self._is_gone(error.response):
                raise

    def _is_gone(self, answer: httpx.Response) -> bool:
        """Whether a result made room for newer ones: it is counted, and asked for anew."""
        gone = "error.result.gone" in answer.text
        if gone:
            self.result = None
            self.seen.gone += 1
        return gone

    def _picture(self) -> bytes:
        noise = np.random.default_rng(self.chance.getrandbits(32))
        side = self.chance.choice(SIDES)
        small = Image.fromarray(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        return buffer.getvalue()

    async def _send(self, content: bytes) -> httpx.Response:
        with self._timed("send"):
            answer = await self.client.post(
                "explorer/pictures?name=sent.jpg", content=content, headers=BYTES
            )
        answer.raise_for_status()
        return answer

    async def _get(self, what: str, path: str) -> httpx.Response:
        with self._timed(what):
            return await self.client.get(path)

    async def _lines(self, what: str, path: str, order: Any) -> AsyncIterator[dict[str, Any]]:
        with self._timed(what):
            asked = self.client.stream("POST", f"explorer/{path}", json=order)
            async with asked as answer:
                if answer.is_error:
                    await answer.aread()
                answer.raise_for_status()
                async for text in answer.aiter_lines():
                    line = json.loads(text) if text else {}
                    if "error" in line:
                        raise ValueError(line["error"].get("text"))
                    yield line

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        self.seen.requests += 1
        start = time.monotonic()
        yield
        self.seen.waits[what].append(time.monotonic() - start)


async def visit(visitor: Visitor, mix: dict[str, int], most: int) -> None:
    """Open the page, then act without a pause until all together made so many requests, if any."""
    await visitor.act("leave")
    while not most or visitor.seen.requests < most:
        await visitor.act(visitor.chance.choices(list(mix), list(mix.values()))[0])


async def watch(client: httpx.AsyncClient, server: psutil.Process, seen: Seen) -> None:
    """Look at the server's memory, threads and files until cancelled."""
    while True:
        seen.looks.append(await look(client, server, seen))
        await asyncio.sleep(EVERY)


async def look(client: httpx.AsyncClient, server: psutil.Process, seen: Seen) -> dict[str, float]:
    """How the server stands: its own word for what it keeps, the system's for the rest."""
    return {
        "requests": seen.requests,
        "kept": (await client.get("explorer/memory")).json()["kept"] / 1e6,
        "megabytes": server.memory_info().rss / 1e6,
        "threads": server.num_threads(),
        "files": server.num_fds(),
    }


async def add_models(client: httpx.AsyncClient, folder: Path) -> list[str]:
    """Names of the models that visitors turn to: the page's own, and one that is sent."""
    setup = (await client.get("explorer/setup")).json()
    sent = write_checkpoint(folder / "sent.safetensors", dim=36, depth=5)
    path = f"explorer/uploads/weights?name={sent.name}"
    upload = (await client.post(path, content=sent.read_bytes(), headers=BYTES)).json()["upload"]
    answer = await client.post("explorer/models", json={"weights": upload})
    return [setup["model"], json.loads(answer.text.splitlines()[-1])["model"]]


async def load(address: str, server: psutil.Process, options: argparse.Namespace) -> Seen:
    seen = Seen()
    async with AsyncExitStack() as clients:

        async def client_of(number: int) -> httpx.AsyncClient:
            """A browser of one's own, which leaves a connection before the server may close it."""
            headers = {"X-Forwarded-For": f"192.0.2.{number}"}
            made = httpx.AsyncClient(
                base_url=address,
                timeout=600,
                trust_env=False,
                headers=headers,
                limits=httpx.Limits(keepalive_expiry=2),
            )
            return await clients.enter_async_context(made)

        client = await client_of(0)
        with tempfile.TemporaryDirectory() as folder:
            models = await add_models(client, Path(folder))
        watching = asyncio.create_task(watch(client, server, seen))
        numbers = range(1, options.visitors + 1)
        visitors = [Visitor(number, await client_of(number), seen, models) for number in numbers]
        mix = MIXES[options.mix]
        visits = [
            asyncio.create_task(visit(visitor, mix, options.requests)) for visitor in visitors
        ]
        # Whoever is still waiting then closes the page.
        done, late = await asyncio.wait(visits, timeout=60 * options.minutes)
        for one in (watching, *late):
            one.cancel()
        for one in done:
            one.result()  # raises what went wrong in this script itself
        # What was hung up on ends within moments.
        await asyncio.sleep(options.rest)
        seen.looks.append(await look(client, server, seen))
    return seen


def report(seen: Seen, left: list[str]) -> str:
    """All of it as tables, as docs/load.md has them."""
    lines = ["| asked | times | median s | 95 % s | longest s |", "|---|---|---|---|---|"]
    for what, waits in sorted(seen.waits.items()):
        middle, late = np.percentile(waits, [50, 95])
        lines.append(f"| {what} | {len(waits):,} | {middle:.2f} | {late:.2f} | {max(waits):.2f} |")
    means = [statistics.mean(waits) for waits in seen.by_visitor.values()]
    if means:
        unfair = max(means) / statistics.median(means)
        lines += [
            "",
            f"slowest visitor / median visitor, mean wait for an explanation: {unfair:.2f}",
        ]
    lines += [f"requests: {seen.requests:,}; failures: {sum(seen.failures.values())}"]
    lines[-1] += f"; results that had made room for newer ones: {seen.gone}"
    lines += [f"  {count} × {what}" for what, count in seen.failures.most_common(10)]
    lines += ["", "| | requests | MB | MB kept | threads | files |", "|---|---|---|---|---|---|"]
    warm = next((one for one in seen.looks if one["requests"] >= WARM), seen.looks[0])
    most = max(seen.looks, key=lambda one: one["megabytes"])
    rows = {"at first": seen.looks[0], f"after {WARM}": warm, "most": most, "after": seen.looks[-1]}
    for name, one in rows.items():
        columns = ("requests", "megabytes", "kept", "threads", "files")
        numbers = (f"{one[key]:,.0f}" for key in columns)
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    grown = seen.looks[-1]["megabytes"] - warm["megabytes"]
    lines += ["", f"grown since {WARM} requests: {grown:,.0f} MB; left behind: {left or 'nothing'}"]
    return "\n".join(lines)


def draw(seen: Seen, path: Path) -> None:
    """The server's memory over the requests it has answered."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    asked = [one["requests"] for one in seen.looks]
    for key, label in (("megabytes", "the whole process"), ("kept", "results and pictures kept")):
        axes.plot(asked, [one[key] for one in seen.looks], label=label)
    axes.legend()
    axes.set(xlabel="requests answered", ylabel="server's memory (MB)", ylim=(0, None))
    axes.axvline(WARM, color="0.7", linewidth=1)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument(
        "--requests", type=int, default=0, help="end after so many, if that is sooner"
    )
    parser.add_argument("--model", help="in place of the small one, such as bundled")
    parser.add_argument("--unmanaged", action="store_true", help="leave memory to glibc")
    parser.add_argument("--mix", choices=MIXES, default="all")
    parser.add_argument("--rest", type=float, default=10, help="seconds of quiet before the end")
    parser.add_argument("--curve", type=Path, help="a picture of the memory, to be written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        model = options.model or str(write_checkpoint(scratch / "small.safetensors"))
        before = set(psutil.Process().children())
        program = ("-c", UNMANAGED, "app") if options.unmanaged else APP
        with running_app("--model", model, scratch=scratch, program=program) as address:
            (server,) = set(psutil.Process().children()) - before
            seen = asyncio.run(load(address, server, options))
        left = [str(path) for path in (scratch / "gradio").rglob("*") if path.is_file()]
        log = (scratch / "app.log").read_text(encoding="utf-8")
    print(report(seen, left))
    print("the server's log:", log if "Traceback" in log else f"{len(log.splitlines())} lines")
    if options.curve:
        draw(seen, options.curve)


if __name__ == "__main__":
    main()
