"""Types of options: their look in `--help`, and their reading. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

from distmatch.runs.settings import SETTINGS, SHORT


def option(metavar: str, read: Callable[[str], Any], what: str) -> Any:
    """Return the type of an option that may be left out: one word, and a plain sentence where it is wrong."""

    def take(words: list[str]) -> Any:
        try:
            return read(words[0])
        except ValueError:
            raise ValueError(f"{words[0]!r} is not {what}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=take,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def one_of(*choices: str) -> Any:
    """The same for an option that takes one of these words."""

    def read(word: str) -> str:
        if word not in choices:
            raise ValueError
        return word

    return option("{" + ",".join(choices) + "}", read, f"one of {', '.join(choices)}")


def setting(name: str) -> tuple[Any, Any]:
    """Return the reader and the help of an option that stands for a setting, by the setting's declaration.

    Args:
        name: the option's, a key of `SHORT`.
    """
    declared = SETTINGS[SHORT[name]]
    read = one_of(*declared.choices) if declared.choices else READ[declared.kinds[0]]
    return read, arg(help=declared.sentence, help_behavior_hint="")


READ = {
    int: option("N", int, "a whole number"),
    float: option("X", float, "a number"),
    str: option("NAME", str, "a name"),
}
PLAIN = arg(help_behavior_hint="")  # what holds when an option is left out stands in its own text
Name = Annotated[str | None, READ[str], PLAIN]
Place = Annotated[Path | None, option("PATH", Path, "a path"), PLAIN]
Count = Annotated[int | None, READ[int], PLAIN]
Real = Annotated[float | None, READ[float], PLAIN]
DataDir = Annotated[Path | None, option("PATH", Path, "a path"), setting("data_dir")[1]]
Run = Annotated[Positional[Path], arg(metavar="RUN")]
Runs = Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN ...", help_behavior_hint="")]
