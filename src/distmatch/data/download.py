"""Downloads that are atomic, checked and resumed: a name in the cache is either whole or absent."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from distmatch.data.places import ELSEWHERE
from distmatch.errors import BadInput
from distmatch.files import cannot_write

CHUNK = 1 << 18
TIMEOUT = 30.0


def fetch(urls: Sequence[str], path: Path, md5: str) -> Path:
    """The file at `path`, downloaded from the first of `urls` that gives the bytes with this MD5.

    Bytes arrive in `path.part`; an interrupted transfer is resumed from there (HTTP Range), now or by the
    next call. Only bytes whose checksum agrees get the name `path`, by a rename. Raises `BadInput`, which
    says where to put the file by hand, when no URL gives it.
    """
    if os.path.isfile(path):
        return path
    why = "no address is known"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            for url in urls:
                why = _from(url, path, md5)
                if os.path.isfile(path):
                    return path
    except OSError as error:
        raise cannot_write(path, error, ELSEWHERE) from error
    raise BadInput(
        f"cannot download {path.name} ({why}); put it in {path.parent}, or name its folder with --data-dir"
    )


def _from(url: str, path: Path, md5: str) -> str:
    """Tries one address for as long as bytes arrive. Leaves `path` on success, otherwise returns why not."""
    part = path.with_name(path.name + ".part")
    while not os.path.isfile(path):
        start = part.stat().st_size if part.exists() else 0
        try:
            response = _open(url, start)
        except (OSError, http.client.HTTPException) as error:
            return f"{url}: {getattr(error, 'reason', None) or error}"
        short = _receive(response, part, start) if response is not None else None
        if short is not None:
            if part.stat().st_size <= start:
                return f"{url}: {short}"
        elif (checksum := _md5(part)) == md5:
            os.replace(part, path)
        else:
            part.unlink()
            if start == 0:
                return f"{url}: the checksum is {checksum} and should be {md5}"
    return ""


def _open(url: str, start: int) -> http.client.HTTPResponse | None:
    """The response for the bytes from `start` on, or None if the server says that there are no more."""
    headers = {"User-Agent": "distmatch", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return None
        raise
    return response


def _receive(response: http.client.HTTPResponse, part: Path, start: int) -> str | None:
    """Appends the body to `part` (or starts it again, where the server ignored the range).

    Returns what went wrong on the network, or None; an error of the disk is raised.
    """
    resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(
        f"bytes {start}-"
    )
    length = response.headers.get("Content-Length")
    received = 0
    with response, open(part, "ab" if resumed else "wb") as out:
        while True:
            try:
                block = response.read(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                return f"the transfer broke off ({error})"
            if not block:
                break
            out.write(block)
            received += len(block)
    if length is not None and length.isdigit() and received < int(length):
        return f"the transfer stopped after {received} of {length} bytes"
    return None


def _md5(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time in this folder, where the platform has such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
