"""Types of options: their look in `--help`, and their reading. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg
from tyro.constructors import PrimitiveConstructorSpec


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


PLAIN = arg(help_behavior_hint="")  # what holds when an option is left out stands in its own text
Name = Annotated[str | None, option("NAME", str, "a name"), PLAIN]
Place = Annotated[Path | None, option("PATH", Path, "a path"), PLAIN]
Count = Annotated[int | None, option("N", int, "a whole number"), PLAIN]
Real = Annotated[float | None, option("X", float, "a number"), PLAIN]
Binarise = Annotated[str | None, one_of("auto", "none", "threshold", "dynamic", "dequantise"), PLAIN]
Precision = Annotated[str | None, one_of("float32", "tf32", "bf16"), PLAIN]
Run = Annotated[Positional[Path], arg(metavar="RUN")]
Runs = Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN ...", help_behavior_hint="")]
