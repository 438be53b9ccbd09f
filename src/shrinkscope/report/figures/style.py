"""Colours, type and line styles of every figure; colour-blind safe, and themed in the report."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

import matplotlib
from matplotlib.colors import to_hex

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

INK = "#1b1f24"
MUTED = "#59636e"
GRID = "#dde1e6"

# Okabe and Ito's palette: distinguishable with every common form of colour blindness.
METHOD_COLOURS = {"lowest": "#0072b2", "random": "#009e73", "highest": "#d55e00"}
OTHER_COLOURS = ("#cc79a7", "#56b4e9", "#e69f00", "#000001")
METHOD_MARKERS = {"lowest": "o", "random": "s", "highest": "^"}
OTHER_MARKERS = ("D", "v", "P", "X")
# Levels are ordered, so their colours are too: lightness falls with the level, and survives a grey print.
LEVEL_COLOURS = ("#e8a800", "#e0552f", "#a3297a", "#42217f")

_CONTRAST = 4.5  # of text on white, as WCAG 2 asks of small type


def luminance(colour: str) -> float:
    """Relative luminance of a colour, 0 for black and 1 for white.

    Args:
        colour: ``#rrggbb``.

    Source: WCAG 2.2, definition of relative luminance.
    """
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def readable(colour: str) -> str:
    """The colour of a line darkened as far as text of it needs, to be read on white.

    Args:
        colour: ``#rrggbb``.

    >>> readable("#0072b2"), readable("#e8a800")
    ('#0072b2', '#9a6f00')
    """
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    for share in range(256, 0, -1):
        darker = "#" + "".join(f"{part * share // 256:02x}" for part in parts)
        if 1.05 / (luminance(darker) + 0.05) >= _CONTRAST:
            return darker
    return "#000000"


_DATA = {
    **{colour: f"method-{name}" for name, colour in METHOD_COLOURS.items()},
    **{colour: f"level-{index}" for index, colour in enumerate(LEVEL_COLOURS)},
    **{colour: f"other-{index}" for index, colour in enumerate(OTHER_COLOURS)},
}

# Colours that the report replaces by a CSS variable, so that inline figures follow the light or dark theme.
THEMED = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    **{readable(colour): name for colour, name in _DATA.items()},
    **_DATA,
}

STYLE: dict[str, object] = {
    "font.family": "sans-serif",
    # DejaVu Sans comes with matplotlib and is the widest of these: where it is missing, SVG labels only get narrower.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica", "sans-serif"],
    "font.size": 8.5,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.titley": 1.0,  # a fixed place; letting matplotlib find one takes a third of the drawing time
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",  # text stays text: searchable, read aloud, small
    "savefig.facecolor": "white",
}


def styled(build: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a function under the style of shrinkscope's figures, and leave the caller's matplotlib settings alone."""

    @wraps(build)
    def within_style(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with matplotlib.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
            return build(*args, **kwargs)

    return within_style


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """Give every method its colour: the known ones always the same, the others in turn."""
    spare = iter(OTHER_COLOURS * (1 + len(methods)))
    return {method: METHOD_COLOURS.get(method) or next(spare) for method in methods}


def method_markers(methods: Sequence[str]) -> dict[str, str]:
    """Give every method its marker, so that colour is never the only difference."""
    spare = iter(OTHER_MARKERS * (1 + len(methods)))
    return {method: METHOD_MARKERS.get(method) or next(spare) for method in methods}


def level_colours(levels: Sequence[float]) -> dict[float, str]:
    """Give every level a colour, darker for more removed; more than four levels share the ramp evenly."""
    steps = max(1, len(levels) - 1)
    if len(levels) <= len(LEVEL_COLOURS):
        return dict(zip(levels, LEVEL_COLOURS, strict=False))
    ramp = matplotlib.colormaps["plasma_r"]
    return {level: to_hex(ramp(0.12 + 0.83 * i / steps)) for i, level in enumerate(levels)}
