"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from distmatch.errors import BadInput

REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "give yourself the right to write there",
    errno.EPERM: "give yourself the right to write there",
    errno.EROFS: "choose a place that can be written",
}


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary name, forced to the disk, renamed.

    The rename is forced to the disk too, so that what comes later is never there without it.

    Raises:
        BadInput: it cannot be written; what was there before is as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     put(Path(folder) / "a.txt", b"hello")
    ...     [p.name for p in Path(folder).iterdir()]
    ['a.txt']
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def cannot_write(path: Path, error: OSError, remedy: str = "") -> BadInput:
    """The sentence for a file that cannot be written, with what helps: `remedy`, or what the error suggests.

    >>> print(cannot_write(Path("log.jsonl"), OSError(errno.ENOSPC, "No space left on device")))
    cannot write log.jsonl (No space left on device); free some space
    """
    remedy = remedy or REMEDIES.get(error.errno or 0, "check that its folder exists and can be written")
    return BadInput(f"cannot write {path} ({error.strerror or error}); {remedy}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)
