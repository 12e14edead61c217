"""Files of the weights hub, in the hub's own cache: what is there, and what is fetched into it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.transfer import Remote, receive
from vit_explorer.models.shipped import BUNDLED
from vit_explorer.sentences import Sentence
from vit_explorer.stopping import LOOK_EVERY, look, waited

CONNECT_SECONDS = 3.0
SILENCE = 5.0
# As timm looks for them in a repository: nothing that runs code first.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
SHA256 = re.compile(r"[0-9a-f]{64}")


class HubError(Exception):
    """A file that can't be had from the hub, with the reason as part of a sentence."""

    def __init__(self, reason: Sentence) -> None:
        super().__init__(reason)
        self.reason = reason


class NotThereError(HubError):
    """The hub has no such file."""


def fetch_weights(repository: str, name: str, files: Sequence[str] = WEIGHTS) -> Path:
    """The weights of a repository, "ORG/NAME" or "ORG/NAME@REVISION", on this machine: of `files`
    the first that it has.

    `name` is what a reader knows them by.

    Raises:
        HubError: the hub can't be reached and they are not here, or it has none.
        ModelError: the download broke off, or there is no room for it.
    """
    organised, _, revision = repository.partition("@")
    for file in files[:-1]:
        try:
            return fetch(organised, file, name, revision or None)
        except NotThereError:
            continue
    return fetch(organised, files[-1], name, revision or None)


def fetch_repository(repository: str, patterns: Sequence[str], name: str) -> Path:
    """The folder on this machine with the files of a repository whose names fit a pattern.

    Raises:
        HubError, ModelError: as `fetch_weights`.
    """
    from huggingface_hub import HfApi, snapshot_download

    if not unreachable():
        try:
            asked = partial(HfApi().model_info, repository, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            files = [one.rfilename for one in waited(asked).siblings or ()]
        except Exception as error:  # of many kinds, by the version of the hub's client
            raise _refused(error) from None
        for file in files:
            if any(fnmatch(file, pattern) for pattern in patterns):
                fetch(repository, file, name)
    try:
        return Path(waited(partial(snapshot_download, repository, local_files_only=True)))
    except (OSError, ValueError):  # what is asked of the cache alone fails in no other way
        raise HubError(_why_not()) from None


def fetch(repository: str, file: str, name: str, revision: str | None = None) -> Path:
    """A file of a repository: that in the cache where it is the hub's newest or the hub can't be
    reached, else brought there.

    Raises:
        HubError, ModelError: as `fetch_weights`.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    kept = _kept(repository, file, revision)
    if unreachable():
        if kept is None:
            raise HubError(_why_not())
        return kept
    url = hf_hub_url(repository, file, revision=revision)
    try:
        told = waited(partial(get_hf_file_metadata, url, timeout=constants.HF_HUB_ETAG_TIMEOUT))
        newest = _kept(repository, file, told.commit_hash) if told.commit_hash else None
        if newest is not None:
            return newest
        if told.size is not None and re.fullmatch(r"[\w-]+", told.etag or ""):
            pinned = hf_hub_url(repository, file, revision=told.commit_hash or revision)
            _bring(repository, pinned, str(told.etag), told.size, name)
        # The hub's own client knows how what has come is named in its cache.
        return Path(waited(partial(hf_hub_download, repository, file, revision=revision)))
    except ModelError:
        raise
    except Exception as error:  # of many kinds, by the version of the hub's client
        if kept is not None:
            return kept
        raise _refused(error) from None


def unreachable() -> bool:
    """Whether the hub can't be had, by choice or for want of a network: asked once and quickly, as
    the hub's client would try for half a minute."""
    return constants.HF_HUB_OFFLINE or not waited(_reachable)


def downloaded_models() -> list[str]:
    """Names of timm's models whose weights are in the cache, each with its tag."""
    prefix = "models--timm--"
    folders = sorted(Path(constants.HF_HUB_CACHE).glob(f"{prefix}*"))
    found = [folder.name.removeprefix(prefix) for folder in folders if _whole(folder)]
    return [name for name in found if re.fullmatch(r"[\w.]+", name)]


def kept_of(repository: str) -> tuple[int, int]:
    """Bytes of a repository's weights in the cache: of those that are whole, and of a download that
    was broken off; 0 where there are none."""
    from huggingface_hub.file_download import repo_folder_name

    named = repo_folder_name(repo_id=repository.partition("@")[0], repo_type="model")
    folder = Path(constants.HF_HUB_CACHE, named)
    parts = [file.stat().st_size for file in folder.glob("blobs/*.incomplete")]
    return _whole(folder), max(parts, default=0)


def _whole(folder: Path) -> int:
    """Bytes of the weights in a repository's folder, the largest of several versions."""
    files = [file for name in WEIGHTS for file in folder.glob(f"snapshots/*/{name}")]
    return max((file.stat().st_size for file in files if file.is_file()), default=0)


def _kept(repository: str, file: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _bring(repository: str, url: str, etag: str, size: int, name: str) -> None:
    """Have the content of a file in the cache, where its client and others' look for it."""
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import build_hf_headers

    folder = repo_folder_name(repo_id=repository, repo_type="model")
    content = Path(constants.HF_HUB_CACHE, folder, "blobs", etag)
    lock = Path(constants.HF_HUB_CACHE, ".locks", folder, f"{etag}.lock")
    sha256 = etag if SHA256.fullmatch(etag) else None
    # Of a line that is known to be slow its user says so by the hub's own variable.
    seconds = float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") or SILENCE)
    remote = Remote(url, name, size, sha256, build_hf_headers(), seconds)
    part = content.with_name(f"{etag}.incomplete")
    try:
        with _alone(lock):
            if not content.exists():
                receive(remote, part)
                part.replace(content)
    except OSError as error:
        raise ModelError(
            "error.download.disk",
            "The download of {name} can't be kept in the hub's folder {folder} ({reason}); make "
            "room there, or have HF_HOME name another folder.",
            name=name,
            folder=constants.HF_HUB_CACHE,
            reason=error.strerror or type(error).__name__,
        ).offering(BUNDLED) from None


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keep every other process, the hub's client in it too, from the same file."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(WeakFileLock(lock, timeout=LOOK_EVERY))
                break
            except Timeout:
                look()
        yield


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


def _why_not() -> Sentence:
    if constants.HF_HUB_OFFLINE:
        return Sentence("part.hub.offline", "HF_HUB_OFFLINE is set, and they are not here")
    return Sentence("part.hub.unreached", "the hub can't be reached")


def _refused(error: Any) -> HubError:
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

    if isinstance(error, EntryNotFoundError):
        return NotThereError(Sentence("part.hub.none", "the hub has none"))
    # Of a repository that is closed and of one that is not there, the hub says the same.
    if isinstance(error, RepositoryNotFoundError):
        return HubError(
            Sentence(
                "part.hub.closed", "the hub has none, or wants an account for them: hf auth login"
            )
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return HubError(Sentence("part.hub.answer", "the hub answered {status}", status=status))
    return HubError(Sentence("part.hub.unreached", "the hub can't be reached"))
