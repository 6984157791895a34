"""A run is a folder: what is in it, and how it is read and written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import distmatch
from distmatch.errors import BadInput
from distmatch.runs.config import RunConfig, configure, layer_of
from distmatch.training import checkpoint


class RunFolder:
    """`config.json`, `log.jsonl`, `checkpoints/`, `samples/`, `metrics.json`, `timing.json`, `report.html`.

    Everything but the log is written to a temporary name and renamed. The log holds only what the seed fixes;
    clocks are in `timing.json`.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.log = path / "log.jsonl"

    @classmethod
    def create(cls, path: Path, config: RunConfig, objective_text: str) -> RunFolder:
        """Make the folder of a new run.

        Raises:
            BadInput: there is a run already, or the folder cannot be made.
        """
        if (path / "config.json").exists():
            raise BadInput(
                f"{path} holds a run already: `distmatch resume {path}` goes on with it; "
                "give another --out for a new one"
            )
        run = cls(path)
        try:
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            run.samples.mkdir(exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot make the run folder {path}: {error.strerror}") from error
        run.write_json(
            "config.json",
            {
                "format": 1,
                "name": path.name,
                "equation": objective_text,
                "config": config.as_dict(),
                "environment": environment(config),
            },
        )
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that exists.

        Raises:
            BadInput: it is none.
        """
        if not (path / "config.json").is_file():
            raise BadInput(f"{path} is no run folder: it has no config.json; `distmatch train` makes one")
        return cls(path)

    def about(self) -> dict[str, Any]:
        """All of `config.json`."""
        about = self.read_json("config.json")
        if about is None or not isinstance(about.get("config"), dict):
            raise BadInput(f"{self.path / 'config.json'} is not the configuration of a run")
        return about

    def config(self) -> RunConfig:
        """The resolved configuration of the run."""
        return configure(layer_of(self.about()["config"]))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None if it is not there."""
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise BadInput(f"{path} must hold a JSON object")
        return content

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file whole or not at all."""
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=True)
        checkpoint.put(self.path / name, (text + "\n").encode())

    def append_log(self, line: Mapping[str, Any]) -> None:
        """One line at the end of the log, on the disk before the call returns to training."""
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise BadInput(f"cannot write {self.log}: {error.strerror}") from error

    def read_log(self) -> list[dict[str, Any]]:
        """The log's lines. A last line that was cut short by a kill is left out."""
        lines: list[dict[str, Any]] = []
        if not self.log.exists():
            return lines
        for text in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
                line["step"] = int(line["step"])
            except (ValueError, KeyError, TypeError):
                break
            lines.append(line)
        return lines

    def cut_log(self, step: int) -> None:
        """Keep the log up to a step: the state that is taken up again knows nothing of the rest."""
        kept = [line for line in self.read_log() if line["step"] <= step]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
        checkpoint.put(self.log, text.encode())

    def status(self) -> str:
        """`finished`, `interrupted`, `running or killed`, or `diverged at step ...`."""
        state = self.read_json("status.json")
        return str(state["status"]) if state else "running or killed"


def environment(config: RunConfig) -> dict[str, Any]:
    """What else fixes a run's bits: versions, machine, threads, git revision."""
    return {
        "distmatch": distmatch.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if config.device.startswith("cuda") else config.device,
        "threads": torch.get_num_threads(),
        "git": _revision(),
    }


def _revision() -> str | None:
    """The revision of the checkout that the package runs from; None outside one."""
    where = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", os.fspath(where), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
