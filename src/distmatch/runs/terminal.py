"""Output of the commands: plain text that a pipe gets unwrapped, progress where somebody watches."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from distmatch.runs.torchrun import follows

if TYPE_CHECKING:
    from distmatch.runs.train import Progress

PIPE_WIDTH = 10_000  # a row of a table is one line, whatever is in it
BOX = "╭╮╰╯│─"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a reader that has seen enough to the command line, where rich would exit with code 1."""
        raise BrokenPipeError


def console_on(stderr: bool = False) -> Console:
    """A console that takes text as it is: no markup, no emoji codes, no colours by guess."""
    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=wide, quiet=follows())


def note(text: str) -> None:
    """Something to know, beside what was asked for."""
    if not follows():
        print(f"note: {text}", file=sys.stderr)


def say(console: Console, text: str) -> None:
    """Lines that are never wrapped by force, so that a path or a command can be copied."""
    console.print(text, soft_wrap=True)


@contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str], Progress]]:
    """Progress bars, one for each name that training is started under; none where nobody watches."""
    if not console.is_terminal:  # to which rich below 15 would print an empty line in their place
        yield lambda name: lambda step, steps, losses: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[losses]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as bars:

        def start(name: str) -> Any:
            task = bars.add_task(name, total=None, losses="", visible=False)

            def advance(step: int, steps: int, losses: dict[str, float]) -> None:
                shown = "  ".join(f"{k} {v:.3g}" for k, v in losses.items() if not k.startswith("critic/"))
                bars.update(task, completed=step, total=steps, losses=shown, visible=True)

            return advance

        yield start


def sentence(box: str) -> str:
    """The parser's framed message as one sentence.

    >>> print(sentence('''╭─ Unrecognized options ──────────╮
    ... │ Unrecognized options: --stesp   │
    ... │ ─────────────────────────────── │
    ... │ Perhaps you meant:              │
    ... │     --steps N                   │
    ... │ ─────────────────────────────── │
    ... │ For full helptext, run x --help │
    ... ╰─────────────────────────────────╯'''))
    unrecognized options: --stesp; did you mean --steps? see x --help
    """
    lines = [re.sub(r"^-+$", "", line.strip(BOX + " ")) for line in box.splitlines()]
    paragraphs = [" ".join(p.split()) for p in "\n".join(lines[1:]).split("\n\n") if p.strip()]
    if not paragraphs:
        return box.strip()
    message, near = (
        paragraphs[0].rstrip("."),
        re.search(r"Perhaps you meant:.*?(--[\w-]+)", " ".join(paragraphs)),
    )
    helped = re.search(r"(?:run|see) (.* --help)", paragraphs[-1])
    message = re.sub(r"^Missing from ([\w ]+): (\S+) (.*?)\.? \(required\)", _missing, message)
    text = message[0].lower() + message[1:] + (f"; did you mean {near[1]}?" if near else ";")
    return f"{text} see {helped[1]}" if helped else text.rstrip(";")


def _missing(match: re.Match[str]) -> str:
    """Return the parser's message on an argument that is not there as a clause."""
    command, name, meaning = match.groups()
    return f"{command.removeprefix('distmatch ')} needs {name}: {meaning[0].lower()}{meaning[1:]}"
