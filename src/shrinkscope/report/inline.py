"""SVG files as parts of an HTML page: no addresses, no clashing identifiers, colours of the page's theme."""

import re

from shrinkscope.report.figures.picture import Picture
from shrinkscope.report.figures.style import THEMED

_DROPPED = (
    re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>", re.DOTALL),
    re.compile(r"<metadata>.*?</metadata>", re.DOTALL),
    re.compile(r"<style type=\"text/css\">.*?</style>", re.DOTALL),  # it would apply to the whole page
    re.compile(r"\s+xmlns(?::\w+)?=\"[^\"]*\""),  # HTML needs no namespaces, and they look like addresses
    re.compile(r"<!--.*?-->", re.DOTALL),
)
_SIZE = re.compile(r"(<svg\b[^>]*?)\s+width=\"[^\"]*\"|(<svg\b[^>]*?)\s+height=\"[^\"]*\"")
_TAG = re.compile(r"<[^>]*>")
_COLOUR = re.compile("|".join(THEMED), re.IGNORECASE)
_IDENTIFIER = re.compile(r"\bid=\"|url\(#|href=\"#")
_LONG_NUMBER = re.compile(r"(\d\.\d{2})\d+")


def inline_svg(picture: Picture) -> str:
    """Turn a picture into an ``<svg>`` element for a page that has many.

    Args:
        picture: The picture.

    Returns:
        The element: it fills the width it is given, its identifiers begin with the picture's name, its themed colours
        are the page's CSS variables, and coordinates are rounded to a hundredth of a point.
    """
    svg = picture.svg
    for pattern in _DROPPED:
        svg = pattern.sub("", svg)
    for _ in range(2):  # width and height, in either order
        svg = _SIZE.sub(lambda match: match[1] or match[2], svg, count=1)
    svg = _TAG.sub(lambda match: _themed(match[0], picture.name), svg)
    label = f'<svg role="img" aria-label="{_escaped(picture.title)}"'
    return re.sub(r"\s*\n\s*", "\n", svg).strip().replace("<svg", label, 1)


def _themed(tag: str, name: str) -> str:
    """Rewrite one tag; the text between tags, such as tick labels and names of layers, stays as it is."""
    tag = _IDENTIFIER.sub(lambda match: f"{match[0]}{name}-", tag)
    tag = _COLOUR.sub(lambda match: f"var(--{THEMED[match[0].lower()]})", tag)
    return _LONG_NUMBER.sub(r"\1", tag)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
