"""A run is a folder: what is in it, and how it is read and written."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import torch

import distmatch
from distmatch.errors import BadInput
from distmatch.files import cannot_write, put
from distmatch.revision import revision
from distmatch.runs.config import RunConfig
from distmatch.runs.layers import read_config
from distmatch.training import checkpoint

FORMAT = 2  # of what a run folder holds; a folder of another one is refused


class RunFolder:
    """`config.json`, `log.jsonl`, `checkpoints/`, `samples/`, `metrics.json`, `figures/`, `timing.json`, `report.html`.

    The folder appears whole, by a rename. Everything in it but the log is written to a temporary name and renamed.
    The log holds only what the seed fixes; clocks are in `timing.json`.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.log = path / "log.jsonl"

    @classmethod
    def create(
        cls, path: Path, config: RunConfig, objective_text: str, ranks: int = 1, notes: Sequence[str] = ()
    ) -> RunFolder:
        """Make the folder of a new run, trained by so many processes; of two that try at once, one does.

        Args:
            notes: what there is to know of the run besides; kept with its configuration.

        Raises:
            BadInput: there is something already, or the folder cannot be made; nothing new is left behind.
        """
        refuse_taken(path)
        place = Path(os.path.abspath(path))
        making = cls(place.with_name(f".{place.name}.{os.getpid()}.tmp"))
        about = {
            "format": FORMAT,
            "name": place.name,
            "equation": objective_text,
            "config": config.as_dict(),
            "environment": environment(config, ranks),
            "notes": list(notes),
        }
        try:
            making.checkpoints.mkdir(parents=True)
            making.samples.mkdir()
            making.write_json("config.json", about)
            os.rename(making.path, place)
        except OSError as error:
            refuse_taken(path)
            raise BadInput(
                f"cannot make the run folder {path} ({error.strerror}); choose another --out"
            ) from error
        finally:
            shutil.rmtree(making.path, ignore_errors=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that exists.

        Raises:
            BadInput: it is none, or one in another version's format.
        """
        if not (path / "config.json").is_file():
            what = "it has no config.json" if path.is_dir() else "there is no such folder"
            raise BadInput(f"{path} is not a run folder: {what}; `distmatch train` makes one")
        folder = cls(path)
        folder.about()
        return folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For whoever trains: no other process may at the same time. A killed process holds nothing.

        Raises:
            BadInput: another process does.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            if not _lock(handle):
                raise BadInput(
                    f"{self.path} is being trained by another process; wait for it, or stop it first"
                )
            yield
        finally:
            os.close(handle)

    def about(self) -> dict[str, Any]:
        """All of `config.json`."""
        about = self.read_json("config.json")
        if about is None or not isinstance(about.get("config"), dict):
            raise BadInput(f"{self.path / 'config.json'} is not the configuration of a run; train a new one")
        if (number := about.get("format")) != FORMAT:
            version = about.get("environment", {}).get("distmatch", "another version")
            raise BadInput(
                f"{self.path} was written by distmatch {version} in format {number}, and this is "
                f"{distmatch.__version__} with format {FORMAT}: train it again, or read it with that version"
            )
        return about

    def config(self) -> RunConfig:
        """The resolved configuration of the run."""
        try:
            return read_config(self.about()["config"])
        except BadInput as error:
            raise BadInput(f"{self.path / 'config.json'} cannot be used: {error}") from error

    def newest_step(self) -> int | None:
        """The step of the newest checkpoint; None where there is none."""
        return max(checkpoint.steps(self.checkpoints), default=None)

    def results(self) -> dict[str, Any] | None:
        """Return what was measured, as in `metrics.json`; None where nothing was.

        An estimate of an older checkpoint than the newest says so in its `how`, and is `stale`: no other is ranked with
        it.
        """
        results = self.read_json("metrics.json")
        newest = self.newest_step()
        if results is None or newest is None:
            return results
        metrics = {}
        for name, estimate in results.get("metrics", {}).items():
            step = estimate.get("step", results.get("step", newest))
            if step != newest:
                stale = f"WARNING: measured at step {step}, and the run is at step {newest}"
                how = "; ".join(part for part in (estimate.get("how"), stale) if part)
                estimate = {**estimate, "how": how, "stale": True}
            metrics[name] = estimate
        return {**results, "metrics": metrics}

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None if it is not there."""
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{path} is damaged ({error}); restore it, or remove it if it can be made again"
            ) from error
        if not isinstance(content, dict):
            raise BadInput(
                f"{path} is damaged (no JSON object); restore it, or remove it if it can be made again"
            )
        return content

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=True)
        put(self.path / name, (text + "\n").encode())

    def append_log(self, line: Mapping[str, Any]) -> None:
        """One line at the end of the log, in the hands of the system when the call returns."""
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise cannot_write(self.log, error) from error

    def sync_log(self) -> None:
        """Force the log to the disk: before a checkpoint, which promises that the log up to it is there."""
        try:
            with self.log.open("a", encoding="utf-8") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.log, error) from error

    def read_log(self) -> list[dict[str, Any]]:
        """The log's lines. One that was cut short by a kill is left out."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadInput(
                f"cannot read {self.log} ({error.strerror}); give yourself the right to"
            ) from error
        lines: list[dict[str, Any]] = []
        for part in text.splitlines():
            try:
                line = json.loads(part)
                line["step"] = int(line["step"])
            except (ValueError, KeyError, TypeError):
                continue
            lines.append(line)
        return lines

    def cut_log(self, step: int) -> None:
        """Keep the log up to a step: the state that is taken up again knows nothing of the rest."""
        kept = [line for line in self.read_log() if line["step"] <= step]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
        put(self.log, text.encode())

    def tidy(self) -> None:
        """Remove what a kill in the middle of a write left behind."""
        for folder in (self.path, self.samples, self.checkpoints):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    def note_revision(self) -> None:
        """Before going on with the run: write the source's revision down, where it is not the one that began it."""
        about = self.about()
        kept = about.setdefault("environment", {})
        if revision() not in (kept.get("revision"), *kept.get("resumed_with", ())):
            kept["resumed_with"] = [*kept.get("resumed_with", ()), revision()]
            self.write_json("config.json", about)

    def status(self) -> str:
        """`finished`, `interrupted at step ...`, `diverged at step ...`, `running`, or that it was killed."""
        state = self.read_json("status.json")
        if state and "status" in state:
            return str(state["status"])
        handle = os.open(self.path, os.O_RDONLY)
        try:
            return "interrupted without a word (killed, or out of disk)" if _lock(handle) else "running"
        finally:
            os.close(handle)


def refuse_taken(path: Path) -> None:
    """Raise `BadInput` if a new run cannot have this folder: an empty one it can."""
    if (path / "config.json").exists():
        raise BadInput(
            f"{path} holds a run already: `distmatch resume {quote(str(path))}` goes on with it; "
            "give another --out for a new one"
        )
    if path.is_dir():
        if os.path.samefile(path, "."):
            raise BadInput(
                f"a run needs a folder of its own, and {path} is the one you are in; give another --out"
            )
        if any(path.iterdir()):
            raise BadInput(
                f"{path} holds other files, and a run needs a folder of its own; give another --out"
            )
    elif os.path.lexists(path):
        raise BadInput(f"{path} is a file, not a folder; give another --out")


def _lock(handle: int) -> bool:
    """Return True if this process now has the folder to itself; so it has where a file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def environment(config: RunConfig, ranks: int = 1) -> dict[str, Any]:
    """Return what else fixes a run's bits: versions, machine, threads, ranks, git revision."""
    return {
        "distmatch": distmatch.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(config.device)
        if config.device.startswith("cuda")
        else config.device,
        "threads": torch.get_num_threads(),
        "ranks": ranks,
        "revision": revision(),
    }
