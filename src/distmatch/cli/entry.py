"""The command line. torch is imported only by the commands that compute."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes

from distmatch.cli.describing import Dirac, List, Show
from distmatch.cli.measuring import Compare, Diagnose, Evaluate, Report, Reproduce
from distmatch.cli.sweeping import Sweep
from distmatch.cli.training import Demo, Resume, Sample, Train
from distmatch.errors import BadInput
from distmatch.runs.torchrun import place, speaks

STYLE = (OmitArgPrefixes, FlagCreatePairsOff)
COMMANDS: dict[str, Callable[..., object]] = {
    command.__name__.lower(): command
    for command in (
        Train,
        Resume,
        Sample,
        Sweep,
        Evaluate,
        Diagnose,
        Compare,
        Report,
        List,
        Show,
        Dirac,
        Reproduce,
        Demo,
    )
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and exit: 0, 2 for bad input, 3 for a diverged run, 130 for Ctrl-C."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. Errors are one sentence on stderr."""
    try:
        return _obey(arguments)
    except BadInput as error:
        return _fail(error, 2)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", 130)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 2)
    except RuntimeError as error:
        if type(error).__name__ != "Diverged":  # whose module would import torch
            raise
        return _fail(error, 3)


def parse(arguments: Sequence[str] | None = None) -> Any:
    """Return the command that these arguments ask for, not yet run; None after help was printed.

    Raises:
        BadInput: no such command, option or kind of value.

    >>> parse(["train", "vae", "--data", "ring", "--steps", "5"]).steps
    5
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="distmatch",
                description="Declare which distributions are matched and how they are compared; train; measure.",
                args=arguments,
                config=STYLE,
            )
    except SystemExit as stop:
        if not stop.code:
            sys.stdout.flush()
            return None
        from distmatch.runs.terminal import sentence

        raise BadInput(sentence(said.getvalue())) from None


def _obey(arguments: Sequence[str] | None) -> int:
    command = parse(arguments)
    if command is None:
        return 0
    from distmatch.runs.terminal import console_on

    if place() is not None and (
        not isinstance(command, Train | Resume) or getattr(command, "profile", False)
    ):
        raise BadInput(
            "several processes train one run together, and do nothing else: use torchrun for train and resume"
        )
    command.run(console_on())
    sys.stdout.flush()
    return 0


def _fail(message: object, code: int) -> int:
    if speaks():
        print(f"distmatch: {message}", file=sys.stderr, flush=True)
    return code
