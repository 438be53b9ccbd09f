import re
from typing import Any
from xml.etree import ElementTree

import pytest

from shrinkscope.report.curves import Curves
from shrinkscope.report.figures import Picture, bars_by_layer, over_epochs
from shrinkscope.report.inline import inline_svg


@pytest.fixture(scope="module")
def picture(records: Any) -> Picture:
    return over_epochs(Curves(records), "ap2", "pd_accuracy_test", "last", rows=("methods",))


def test_the_element_is_well_formed_and_named(picture: Picture):
    root = ElementTree.fromstring(inline_svg(picture).replace("xlink:href", "href"))
    assert root.tag == "svg"
    assert root.get("aria-label") == picture.title
    assert root.get("viewBox")
    assert (root.get("width"), root.get("height")) == (None, None)


def test_no_address_and_no_page_wide_style_remains(picture: Picture):
    assert "http" in picture.svg
    svg = inline_svg(picture)
    for unwanted in ("http", "<style", "<metadata", "<!DOCTYPE", "<?xml", "xmlns"):
        assert unwanted not in svg


def test_identifiers_and_their_uses_are_the_pictures_own(picture: Picture):
    svg = inline_svg(picture)
    defined = set(re.findall(r'\bid="([^"]+)"', svg))
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
    assert all(name.startswith(f"{picture.name}-") for name in defined)
    assert {a or b for a, b in used} <= defined
    assert used


def test_text_is_what_it_was(picture: Picture):
    def texts(svg: str) -> list[str]:
        return re.findall(r"<text[^>]*>([^<]*)</text>", svg)

    assert texts(inline_svg(picture)) == texts(picture.svg)
    assert {"0.001", "0.01", "0"} & set(texts(picture.svg))  # numbers that rounding would have changed


def test_colours_follow_the_page(picture: Picture):
    svg = inline_svg(picture)
    assert "var(--method-lowest)" in svg
    assert "var(--ink)" in svg
    assert "#0072b2" not in svg


def test_coordinates_stay_within_a_hundredth_of_a_point(picture: Picture):
    number = re.compile(r"-?\d+\.\d+")

    def coordinates(svg: str) -> list[float]:
        return [float(found) for path in re.findall(r' d="([^"]*)"', svg) for found in number.findall(path)]

    before, after = coordinates(picture.svg), coordinates(inline_svg(picture))
    assert len(before) == len(after) > 100
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) < 0.01


def test_the_name_of_a_layer_is_only_text(records: Any):
    evil = "</text><script>x</script>]]>"
    named = records.replace({"layer": {"conv1.weight": evil}})
    svg = inline_svg(bars_by_layer(Curves(named), "relative_ap2", "all"))
    assert "<script" not in svg
    assert "&lt;/text&gt;&lt;script&gt;x&lt;/script&gt;" in svg
