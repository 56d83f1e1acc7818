"""What all plots share: size, fonts, rows of candidates, and the files that are written."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

from hf_leep.report.candidate_schema import RankedData
from hf_leep.report.palette import LIGHT
from hf_leep.report.schema import ReportData
from hf_leep.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.typing import LineStyleType as LineStyle

MOST_ROWS = 25  # candidates of a plot
FONT = 10  # points: 10.8 pixels where the 720 pixels of a plot are shown on 390
_WIDTH, _DPI = 5.0, 144  # inches; dots an inch
_LEFT, _RIGHT = 0.14, 0.14  # inches beside the rows
_ROW = 0.44  # inches
_BOTTOM = 0.56  # inches: numbers and name of the axis
_LINE = 0.2  # inches of a line of text above the rows
_DOCTYPE = re.compile(r"<!DOCTYPE[^>]*>\s*")
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
NAME, MARK = -0.22, 0.2  # where in its row, of height 1 around 0, a candidate's name and its marks are


def rows_figure(num_rows: int, texts: Sequence[str], handles: Sequence[Line2D]) -> tuple[Figure, Axes]:
    """A figure with a row for each candidate, under lines of text and an explanation of the marks.

    Args:
        num_rows: number of rows.
        texts: lines above.
        handles: the marks, each with its label.
    """
    above = 0.1 + _LINE * (len(texts) + len(handles))
    figure, axes = figure_of(0.02 + _ROW * num_rows, above, (_LEFT, _RIGHT))
    height = figure.get_size_inches()[1]
    for line, text in enumerate([*texts, *(str(handle.get_label()) for handle in handles)]):
        y = 1 - (0.14 + _LINE * line) / height
        is_key = line >= len(texts)
        figure.text((_LEFT + 0.36 * is_key) / _WIDTH, y, text, va="center", color=LIGHT.ink)
        if is_key:
            handle = handles[line - len(texts)]
            handle.set(transform=figure.transFigure)
            handle.set_data([x / _WIDTH for x in (_LEFT + 0.02, _LEFT + 0.15, _LEFT + 0.28)], [y, y, y])
            handle.set_markevery([1])
            figure.add_artist(handle)
    axes.set_ylim(num_rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    return figure, axes


def figure_of(height: float, above: float, beside: tuple[float, float], below: float = _BOTTOM) -> tuple[Figure, Axes]:
    """A figure of the usual width with axes of so many inches in height, and margins in inches."""
    from matplotlib.figure import Figure

    total = height + above + below
    figure = Figure(figsize=(_WIDTH, total), dpi=_DPI, facecolor=LIGHT.ground)
    left, right = beside
    axes = figure.add_axes((left / _WIDTH, below / total, (_WIDTH - left - right) / _WIDTH, height / total))
    axes.grid(axis="x", color=LIGHT.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="both", length=0, labelsize=FONT, labelcolor=LIGHT.ink)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(LIGHT.grid)
    return figure, axes


def label_row(axes: Axes, row: int, name: str, at_right: str = "") -> None:
    """Write a candidate's name above its marks, and a few characters at the right end of the same line."""
    beside = axes.get_yaxis_transform()
    axes.text(0, row + NAME, clip(name), transform=beside, va="center", color=LIGHT.ink)
    axes.text(1, row + NAME, at_right, transform=beside, va="center", ha="right", color=LIGHT.ink)


def band(axes: Axes, row: int, candidate: RankedData) -> None:
    """Shade the rows of every second tie group."""
    if candidate["tie_group"] is not None and candidate["tie_group"] % 2 == 0:
        axes.axhspan(row - 0.5, row + 0.5, color=LIGHT.band, zorder=0, linewidth=0)


def colour(candidate: RankedData) -> str:
    """Of a candidate's tie group; grey where a race stopped it, and that of text where its error is not known."""
    if candidate["stopped"]:
        return LIGHT.quiet
    group = candidate["tie_group"]
    return LIGHT.ink if group is None else LIGHT.groups[(group - 1) % len(LIGHT.groups)]


def is_hollow(candidate: RankedData) -> bool:
    """Whether a candidate's mark is drawn hollow: a race stopped it."""
    return candidate["stopped"] is not None


def handle(
    label: str, marker: str = "o", *, line: LineStyle = "-", fill: str = LIGHT.ink, ink: str = LIGHT.ink
) -> Line2D:
    """The explanation of a mark."""
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, linestyle=line, lw=2, ms=6, color=ink, mfc=fill, mec=ink, label=label)


def first_of(data: ReportData, num_shown: int, num_all: int) -> list[str]:
    """A line that says that not all candidates are shown, if so."""
    return [f"The first {num_shown} of {num_all} candidates."] if num_all > num_shown else []


def clip(name: str, width: int = 40) -> str:
    """Keep both ends of a long name: they tell candidates apart."""
    name = plain(name)
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-(width // 2 - 1) :]}"


@contextmanager
def drawing() -> Iterator[None]:
    """Set what all plots need, and draw names in scripts that the font lacks without a warning for each letter."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context():
        matplotlib.rcParams.update({"font.size": FONT, "svg.fonttype": "none", "svg.hashsalt": "hf_leep"})
        matplotlib.rcParams["text.parse_math"] = False  # a name such as a$b$c is text
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def png(figure: Figure) -> bytes:
    """The picture as PNG; without a date, so that the same report gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure, alt: str) -> bytes:
    """The picture as SVG whose text is text, with a description for screen readers and no address of anything."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = _METADATA.sub("", _DOCTYPE.sub("", buffer.getvalue()), count=1)
    before, start, rest = text.partition("<svg ")
    opened, end, drawn = rest.partition(">")
    described = f'{before}{start}role="img" {opened}{end}\n <title>{escape(plain(alt))}</title>{drawn}'
    return described.encode("utf-8", "backslashreplace")
