import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from msgspec.structs import replace

from shrinkscope.analysis import Comparison, Explanation
from shrinkscope.errors import OutputError
from shrinkscope.report import comparison_report, demo_report, write_report
from shrinkscope.report.figures import Picture
from shrinkscope.report.html import flattened

CONCLUSIONS = ["AP2 agrees with PD: τ = 0.9.", "It fails for <b>lowest</b> & 30 %.", "So look further."]
VOID = {"meta", "input", "br", "link", "img", "hr"}


class Outline(HTMLParser):
    """What a browser would find: tags with attributes, and tags left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(records: Any, pictures: dict[str, Picture], comparison: Comparison) -> str:
    return demo_report(
        records,
        run={"seed": 7, "training": {"epochs": 20}, "hash": "0123abcd"},
        conclusions=CONCLUSIONS,
        figures=pictures,
        comparisons={"dense → pruned <1>": comparison},
        title="A study & more",
    )


def test_the_page_is_well_formed_with_unique_identifiers(page: str):
    outline = Outline(page)
    assert outline.open == []
    identifiers = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in outline.tags:
        for name in ("aria-controls", "aria-labelledby"):
            if name in attributes:
                assert attributes[name] in identifiers
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in identifiers


def test_the_page_needs_nothing_else(page: str):
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    for tag, attributes in Outline(page).tags:
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert "src" not in attributes


def test_the_page_is_small_enough_to_mail(page: str):
    assert len(page.encode()) < 5_000_000


def test_the_conclusions_come_first_and_are_escaped(page: str):
    body = page[page.index("<main>") :]
    positions = [
        body.index(sentence) for sentence in ("τ = 0.9", "&lt;b&gt;lowest&lt;/b&gt; &amp; 30 %", "So look further")
    ]
    assert positions == sorted(positions)
    assert positions[-1] < body.index("<table")
    assert "<title>A study &amp; more</title>" in page


def test_only_the_pages_own_script_may_run(page: str):
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in page or f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_the_name_of_a_layer_is_harmless(page: str, comparison: Comparison):
    for html in (page, comparison_report(comparison)):
        tags = [tag for tag, _ in Outline(html).tags]
        assert tags.count("script") == 1
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "\x1b" not in html


def test_every_figure_is_there_with_a_numbered_caption(page: str, pictures: dict[str, Picture]):
    assert page.count("<figure ") == page.count("<svg ") == len(pictures)
    for number in range(1, len(pictures) + 1):
        assert f"Figure {number}.</b>" in page


def test_cells_sort_by_the_number_and_not_by_its_text(page: str, records: Any):
    chosen = records.query("scope == 'all' and metric == 'ap2' and method == 'highest' and level == 0.8")
    mean = chosen.query("epoch == 0 and layer == ''")["value"].mean()
    orders = [float(found) for found in re.findall(r'data-order="([0-9.e+-]+)"', page)]
    assert any(order == pytest.approx(mean, rel=1e-12) for order in orders)


def test_what_was_not_measured_is_not_available_and_sorts_as_nothing(comparison: Comparison):
    html = comparison_report(comparison)
    assert re.search(r'data-order=""[^>]*>n/a', html)
    assert not re.search(r">(nan|None|inf)<", html)


def test_settings_are_shown_and_the_glossary_explains(page: str):
    text = re.sub(r"<[^>]+>", " ", page[page.index('id="settings"') :])
    assert re.search(r"training\.epochs\s+20", text)
    assert "0123abcd" in text
    for word in ("AP2", "AP3", "PD", "Kendall τ", "n/a"):
        assert word in text


def test_a_study_without_extras_is_still_a_page(records: Any):
    few = records[records.metric.isin(["ap2", "pd_loss_test"]) & (records.scope == "last") & (records.layer == "")]
    html = demo_report(few)
    identifiers = [attributes.get("id") for _, attributes in Outline(html).tags]
    assert "conclusions" not in identifiers
    assert "settings" not in identifiers
    assert html.count("<figure ") == 2


def test_a_comparison_says_what_changed_and_what_was_left_out(comparison: Comparison):
    html = comparison_report(comparison)
    assert "compared tensors changed" in html
    assert "all measured layers" in html
    assert "gone.weight 2×2 is in" in html
    assert Outline(html).open == []


def test_an_explanation_shows_performance(explanation: Explanation):
    html = comparison_report(explanation)
    assert "Performance before and after" in html
    assert "95% interval" in html


def test_an_explanation_shows_what_is_proved(explanation: Explanation):
    html = comparison_report(explanation)
    assert '<section id="proved">' in html
    assert "Accuracy drops by at most" in html
    assert "What the predictions prove, whatever the labels are" in html
    assert "<dt" in html[html.index("total variation") :]  # the glossary explains it
    assert Outline(html).open == []
    without = comparison_report(replace(explanation, predictive={}))
    assert 'id="proved"' not in without
    assert "total variation" not in without


def test_identical_networks_need_no_picture(explanation: Explanation):
    from shrinkscope.analysis import compare

    weights = {"a.weight": __import__("torch").ones(3, 2)}
    html = comparison_report(compare(weights, weights))
    assert "identical" in html
    assert "<figure" not in html


def test_settings_of_any_depth_are_flattened():
    nested = {"a": {"b": {"c": 1}}, "d": (1, 2), "e": None, "f": False}
    assert list(flattened(nested)) == [("a.b.c", "1"), ("d", "1, 2"), ("e", "not set"), ("f", "False")]


def test_a_report_is_written_whole_or_not_at_all(tmp_path):
    write_report(tmp_path / "deep" / "report.html", "<p>ω̃</p>")
    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8") == "<p>ω̃</p>"
    with pytest.raises(OutputError, match="cannot write .*report.html"):
        write_report(tmp_path / "deep" / "report.html" / "below" / "report.html", "x")
