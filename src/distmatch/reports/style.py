"""One light, colour-blind safe style for every figure, and small, reproducible SVG.

Only matplotlib's objects are used, never pyplot, so nothing global is touched and nothing needs closing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

# Okabe and Ito's colours (black and yellow last: one shouts, the other whispers), then two of Paul Tol's.
COLOURS: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLOURS += ("#882255", "#999933", "#000000", "#F0E442")
LEGEND = 66  # characters in a row of a legend
GREY, INK = "#9a9a9a", "#333333"
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.2,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 150,
    "svg.fonttype": "none",
}
SVG_FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the style, and leave matplotlib's own settings as they were."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib

        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(
    rows: int, columns: int, size: tuple[float, float], used: int | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns panels of `size` inches each, of which the first `used` have axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(used or rows * columns)]


def legend(axes: Axes) -> None:
    """Labels in rows above the axes, where they cover nothing: three in a row, or fewer where they are long."""
    longest = max(len(label) for label in axes.get_legend_handles_labels()[1])
    columns = max(1, min(3, LEGEND // (longest + 4)))
    place: Any = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.98), "borderaxespad": 0.2}
    for text in axes.legend(ncols=columns, columnspacing=1.2, **place).get_texts():
        if len(words := text.get_text()) > LEGEND:
            text.set_text(words[: LEGEND - 1] + "…")


def figure_to_svg(figure: Figure, salt: str = "") -> str:
    """A small SVG element that is the same for the same figure, without dates, outer fonts or loose ids.

    Text stays text, in the reader's own sans serif. Ids carry a hash of the figure and of `salt`, so several
    SVGs can stand in one page.

    >>> from distmatch.reports.figures import loss_curves
    >>> svg = figure_to_svg(loss_curves([{"step": 0, "nll": 1.0}, {"step": 1, "nll": 0.5}]))
    >>> svg[:5], "<metadata" in svg, "nll" in svg
    ('<svg ', False, True)
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({**RC, "svg.hashsalt": "distmatch"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.S
    )
    svg = svg.replace("<svg ", '<svg stroke-linejoin="round" stroke-linecap="butt" ', 1)
    svg = re.sub(r"<[^>]+>", lambda tag: _shorten(tag.group()), svg)
    svg = re.sub(r"data:image/png;base64,([\w+/=\s]+)", _quantize, svg)
    svg = re.sub(r">\s+<", "><", svg).replace("'DejaVu Sans'", SVG_FONT)
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
    mark = "d" + hashlib.sha256((salt + svg).encode()).hexdigest()[:8] + "-"
    svg = re.sub(r' id="([\w.-]+)"', lambda m: f' id="{mark}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{mark}", svg)
    return re.sub(r"<g>(\s*)</g>|<defs/>|<defs>\s*</defs>", "", svg).strip()


def _shorten(tag: str) -> str:
    """Fewer digits and spaces; a tenth of a point is enough for paths of many points."""
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    digits = 1 if len(tag) > 2000 else 2
    tag = re.sub(r"-?\d+\.\d{2,}", lambda m: f"{float(m[0]):.{digits}f}".rstrip("0").rstrip("."), tag)
    return re.sub(r' d="[^"]*"', lambda m: re.sub(r"(?<=[MLCQz]) | ?[\r\n]+", "", m[0]), tag)


def _quantize(match: re.Match[str]) -> str:
    """Rasterised points with a palette of 128 colours: a quarter of the bytes, and no visible difference."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
        image.convert("RGBA").quantize(128).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
