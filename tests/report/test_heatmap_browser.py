"""The heat map, the gates and the grouped tables in a real browser: pointer, keyboard, theme, width, paper."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from shrinkscope.analysis import compare
from shrinkscope.report import comparison_report, write_report

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

CONTRAST = """
() => [...document.querySelectorAll('#heat td, .heat-outside li')].filter(c => /^heat-/.test(c.className)).map(cell => {
  const light = (text) => {
    const parts = text.match(/[0-9.]+/g).slice(0, 3).map(p => p / 255);
    const linear = parts.map(p => p <= 0.03928 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const style = getComputedStyle(cell);
  const both = [light(style.color), light(style.backgroundColor)].sort();
  return { shade: +cell.className.slice(5), lightness: light(style.backgroundColor),
           ratio: (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05) };
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


def report_of(blocks: int, path: Path) -> Path:
    """Damage that grows by equal factors over the blocks, so that every shade occurs."""
    dense, compressed = {}, {}
    for index in range(blocks):
        for part in ("attn.q_proj", "mlp.down_proj"):
            name = f"layers.{index}.{part}.weight"
            dense[name] = torch.ones(4, 2, dtype=torch.float64)
            compressed[name] = dense[name] * (1 - 10 ** (-2 + 2 * index / max(1, blocks - 1)))
    dense["embed.weight"] = compressed["embed.weight"] = torch.ones(3, dtype=torch.float64)
    rules = ["relative_ap2 > 0.5 in *.down_proj", "sparsity > 100%"]
    write_report(path, comparison_report(compare(dense, compressed, latents=["gaussian"]).gated(rules)))
    return path


@pytest.fixture(scope="module")
def deep(tmp_path_factory: Any) -> Path:
    return report_of(200, tmp_path_factory.mktemp("heat") / "deep.html")


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: Any) -> Path:
    return report_of(6, tmp_path_factory.mktemp("heat") / "shallow.html")


def visit(browser: Browser, path: Path, **context: Any) -> Page:
    page = browser.new_context(offline=True, **context).new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(path.as_uri())
    return page


def test_pointing_at_a_cell_says_what_it_is(browser: Browser, shallow: Path):
    page = visit(browser, shallow)
    cell = page.locator("table.heat tbody tr").nth(1).locator("td").nth(5)
    cell.hover()
    told = page.locator("#heat-readout").inner_text()
    assert told.startswith("layers.5 · mlp.down_proj: relative AP2 1.00, zeros 0 % → 100 %, 8 weights")
    assert cell.get_attribute("title") == told


def test_arrows_walk_through_the_cells_and_the_map_is_one_stop_of_tab(browser: Browser, shallow: Path):
    page = visit(browser, shallow)
    assert page.locator("table.heat td[tabindex='0']").count() == 1
    page.locator("table.heat td").first.focus()
    where = "[document.activeElement.parentElement.rowIndex, document.activeElement.cellIndex]"
    start = page.evaluate(where)
    for key in ("ArrowRight", "ArrowDown", "End", "ArrowRight"):
        page.keyboard.press(key)
    assert page.evaluate(where) == [start[0] + 1, 6]
    assert page.locator("#heat-readout").inner_text().startswith("layers.5 · mlp.down_proj")
    assert page.locator("table.heat td[tabindex='0']").count() == 1
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_ordered_by_lightness_and_numbers_can_be_read(browser: Browser, deep: Path, scheme: str):
    page = visit(browser, deep, color_scheme=scheme)
    found = sorted(page.evaluate(CONTRAST), key=lambda cell: cell["shade"])
    assert {cell["shade"] for cell in found} == set(range(16))
    lightness = [cell["lightness"] for cell in found]
    # Told apart by lightness alone: darker for more on a light page, lighter for more on a dark one.
    assert lightness == sorted(lightness, reverse=scheme == "light")
    assert min(cell["ratio"] for cell in found) >= 4.5  # WCAG 2, level AA


@pytest.mark.parametrize("width", [1280, 390])
def test_two_hundred_blocks_fit_or_scroll_inside_their_frame(browser: Browser, deep: Path, width: int):
    page = visit(browser, deep, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    frame = page.locator("#heat .scroll").first
    inner, outer = frame.evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert (inner <= outer) == (width == 1280)


def test_the_same_numbers_are_in_a_table(browser: Browser, shallow: Path):
    page = visit(browser, shallow)
    page.locator("#heat summary").click()
    rows = page.locator("#heat table.sortable tbody tr")
    assert rows.count() == 6
    assert rows.nth(5).locator("td").all_inner_texts() == ["layers.5", "1.00", "1.00"]


def test_gates_stand_first_and_groups_have_tables(browser: Browser, shallow: Path):
    page = visit(browser, shallow)
    assert page.locator("main section").first.get_attribute("id") == "gates"
    verdicts = page.locator(".gates li")
    assert [verdicts.nth(i).get_attribute("class") for i in range(2)] == ["failed", "passed"]
    assert "layers.5.mlp.down_proj.weight" in verdicts.first.inner_text()
    captions = page.locator("#groups caption").all_text_contents()
    assert captions == ["Damage by block (7 blocks)", "Damage by role (3 roles)"]


def test_on_paper_the_map_is_there_in_the_colours_of_paper(browser: Browser, shallow: Path):
    page = visit(browser, shallow, color_scheme="dark")
    page.emulate_media(media="print")
    shade = "getComputedStyle(document.querySelector('td.heat-15')).backgroundColor"
    assert page.evaluate(shade) == "rgb(102, 37, 6)"
    assert page.locator("table.heat").is_visible()
