"""The report in a real browser, without a network: what a reader sees, clicks and prints."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from shrinkscope.analysis import Comparison
from shrinkscope.report import comparison_report, demo_report, write_report
from shrinkscope.report.figures import Picture

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(records: Any, pictures: dict[str, Picture], comparison: Comparison, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    html = demo_report(
        records,
        run={"seed": 1},
        conclusions=["First.", "Second.", "Third."],
        figures=pictures,
        comparisons={"dense → pruned": comparison},
    )
    write_report(path, html)
    return path


class Visit:
    """A page opened without a network, with everything it complained about and asked for."""

    def __init__(self, browser: Browser, path: Path, **context: Any) -> None:
        self.context = browser.new_context(offline=True, **context)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._refuse)
        self.page.goto(path.as_uri())

    def _refuse(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


def column(page: Page, table: str, index: int) -> list[str]:
    return page.locator(f"{table} tbody tr td:nth-child({index})").all_text_contents()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_opens_quietly_offline(
    browser: Browser, report: Path, pictures: dict[str, Picture], scheme: str, width: int
):
    with Visit(browser, report, color_scheme=scheme, viewport={"width": width, "height": 900}) as visit:
        assert visit.complaints == []
        assert visit.requests == [report.as_uri()]
        # Tables and figures scroll inside their frames; the page itself never scrolls sideways.
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        families = {picture.family for picture in pictures.values()}
        assert visit.page.locator("figure:visible").count() == len(families) == 7  # one of each
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(245, 246, 248)") == (scheme == "light")


def test_a_click_on_a_heading_sorts_by_number(browser: Browser, report: Path):
    with Visit(browser, report) as visit:
        header = visit.page.locator("#summary table").first.locator("thead th").nth(2)
        numbers = (
            "[...document.querySelectorAll('#summary table')[0].tBodies[0].rows].map(r => +r.cells[2].dataset.order)"
        )
        before = visit.page.evaluate(numbers)
        assert header.get_attribute("aria-sort") == "none"
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "descending"
        assert visit.page.evaluate(numbers) == sorted(before, reverse=True) != before
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "ascending"
        assert visit.page.evaluate(numbers) == sorted(before)


def test_tables_sort_from_the_keyboard(browser: Browser, report: Path):
    with Visit(browser, report) as visit:
        visit.page.locator("#summary table").first.locator("thead th button").first.focus()
        visit.page.keyboard.press("Enter")
        methods = column(visit.page, "#summary .scroll:nth-of-type(1)", 1)
        assert methods == sorted(methods)
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Space")
        headers = visit.page.locator("#summary table").first.locator("thead th")
        assert [headers.nth(i).get_attribute("aria-sort") for i in range(2)] == ["none", "descending"]


def test_what_was_not_measured_stays_last_and_the_total_stays_below(browser: Browser, comparison: Comparison, tmp_path):
    write_report(tmp_path / "comparison.html", comparison_report(comparison))
    with Visit(browser, tmp_path / "comparison.html") as visit:
        titles = visit.page.locator("#layers thead th .title").all_text_contents()
        index = titles.index("rel. AP2")
        for _ in range(2):
            visit.page.locator("#layers thead th button").nth(index).click()
            cells = [cell.strip() for cell in column(visit.page, "#layers", index + 1)]
            assert cells[-1] == "n/a"
            assert "n/a" not in cells[:-1]
        assert "all measured layers" in visit.page.locator("#layers tfoot").inner_text()
        assert visit.complaints == []  # a layer called <script> said nothing


def test_tabs_change_the_figure_by_click_and_by_arrow(browser: Browser, report: Path):
    with Visit(browser, report) as visit:
        tabs = visit.page.locator("#epochs-ap2 [role=tab]")
        panels = visit.page.locator("#epochs-ap2 [role=tabpanel]")
        assert tabs.count() == panels.count() == 8
        tabs.nth(5).click()
        assert [panels.nth(i).is_visible() for i in range(8)] == [i == 5 for i in range(8)]
        visit.page.keyboard.press("ArrowRight")
        assert [panels.nth(i).is_visible() for i in range(8)] == [i == 6 for i in range(8)]
        assert tabs.nth(6).get_attribute("aria-selected") == "true"
        visit.page.keyboard.press("Home")
        assert panels.first.is_visible()


def test_the_range_over_trials_can_be_shown(browser: Browser, report: Path):
    with Visit(browser, report) as visit:
        note = visit.page.locator("#summary-tables .note").first
        assert not note.is_visible()
        visit.page.get_by_label("show the range over trials").check()
        assert note.is_visible()


def test_figures_take_the_colours_of_the_theme(browser: Browser, report: Path):
    def ink(scheme: str) -> str:
        with Visit(browser, report, color_scheme=scheme) as visit:
            return visit.page.evaluate("getComputedStyle(document.querySelector('figure text')).fill")

    assert ink("light") == "rgb(27, 31, 36)"
    assert ink("dark") == "rgb(232, 235, 239)"


def test_without_scripts_everything_is_shown(browser: Browser, report: Path, pictures: dict[str, Picture]):
    with Visit(browser, report, java_script_enabled=False) as visit:
        assert visit.page.locator("figure:visible").count() == len(pictures)


def test_on_paper_every_figure_is_shown_in_the_colours_of_paper(browser: Browser, report: Path, pictures: dict):
    with Visit(browser, report, color_scheme="dark") as visit:
        visit.page.emulate_media(media="print")
        assert visit.page.locator("figure:visible").count() == len(pictures)
        assert visit.page.locator("[role=tablist]:visible").count() == 0
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert len(visit.page.pdf()) > 10_000
