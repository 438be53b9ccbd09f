"""A figure with what a reader needs beside it: a title, a caption and a place in the report."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from shrinkscope.errors import OutputError
from shrinkscope.files import atomic_path, write_text
from shrinkscope.report.figures.style import STYLE

PNG_DPI = 150


@dataclass(frozen=True)
class Picture:
    """A figure fit to publish.

    Attributes:
        name: Name of its files and its anchor in the report: lower case, digits and hyphens.
        family: Which section of the report it belongs to.
        title: What it shows, in a few words.
        group: What it shares with some of its family, such as the part of the network that was pruned.
        tab: What tells it from the others of its group.
        caption: What is seen, on what data, and how it was averaged.
        figure: The matplotlib figure.
    """

    name: str
    family: str
    title: str
    group: str
    tab: str
    caption: str
    figure: Figure

    @cached_property
    def svg(self) -> str:
        """The figure as SVG, the same bytes for the same numbers: no date, and identifiers derived from the name."""
        style = {**STYLE, "svg.hashsalt": f"shrinkscope-{self.name}"}
        with matplotlib.rc_context(style), _of_its_size(self.figure):  # pyright: ignore
            buffer = io.StringIO()
            metadata = {"Date": None, "Creator": "shrinkscope", "Title": self.title, "Description": self.caption}
            FigureCanvasSVG(self.figure).print_svg(buffer, metadata=metadata)
        return buffer.getvalue()

    def write_png(self, path: Path) -> None:
        """Write the figure as PNG, all or nothing.

        Args:
            path: The file to write.

        Raises:
            OutputError: If the file cannot be written.
        """
        with matplotlib.rc_context(STYLE), _of_its_size(self.figure), atomic_path(path) as temporary:  # pyright: ignore
            self.figure.set_dpi(PNG_DPI)
            metadata = {"Software": "shrinkscope", "Title": self.title, "Description": self.caption}
            # Level 3 compresses lines and text as well as the default, in a third of its time.
            FigureCanvasAgg(self.figure).print_png(temporary, metadata=metadata, pil_kwargs={"compress_level": 3})

    def write_pdf(self, path: Path) -> None:
        """Write the figure as PDF, all or nothing, the same bytes for the same numbers: no date.

        Args:
            path: The file to write.

        Raises:
            OutputError: If the file cannot be written.
        """
        style = {**STYLE, "pdf.fonttype": 42}
        with matplotlib.rc_context(style), _of_its_size(self.figure), atomic_path(path) as temporary:  # pyright: ignore
            metadata = {"Title": self.title, "Subject": self.caption, "Creator": "shrinkscope", "CreationDate": None}
            FigureCanvasPdf(self.figure).print_pdf(temporary, metadata=metadata)

    def write(self, path: Path) -> None:
        """Write the figure as its suffix says: .png, .svg or .pdf.

        Args:
            path: The file to write.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        writers = {".png": self.write_png, ".pdf": self.write_pdf, ".svg": lambda to: write_text(to, self.svg)}
        if path.suffix not in writers:
            raise OutputError(f"cannot write {path}: unknown suffix {path.suffix!r}; expected .png, .svg or .pdf")
        writers[path.suffix](path)


@contextmanager
def _of_its_size(figure: Figure) -> Iterator[None]:
    """Give a figure its dots per inch back: writing sets those of the format, at which texts have other widths."""
    before = figure.get_dpi()
    try:
        yield
    finally:
        figure.set_dpi(before)


def save_figures(pictures: Mapping[str, Picture], folder: str | Path) -> list[Path]:
    """Write every picture as PNG (150 dots an inch) and as SVG into ``folder``.

    Args:
        pictures: Pictures by the name of their files.
        folder: Where to write; created when it does not exist.

    Returns:
        The files written, in the order of the pictures.

    Raises:
        OutputError: If a file cannot be written; the files before it are complete, and no other is left behind.
    """
    written: list[Path] = []
    for name, picture in pictures.items():
        png, svg = Path(folder) / f"{name}.png", Path(folder) / f"{name}.svg"
        picture.write_png(png)
        write_text(svg, picture.svg)
        written += [png, svg]
    return written
