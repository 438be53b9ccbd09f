"""The documentation is true: its examples run, its reference is what the program says, every verb has an example."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLE = re.compile(r"```pycon\n(.*?)```", re.DOTALL)


def verbs() -> list[str]:
    from shrinkscope.cli import app

    return [command.callback.__name__ for command in app.registered_commands if command.callback is not None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_give_the_output_that_is_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "\n".join(EXAMPLE.findall(page.read_text(encoding="utf-8")))
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test)
    assert runner.failures == 0


def test_the_readme_has_an_example_that_runs():
    assert EXAMPLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_command_line_reference_is_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_help_with_an_example_and_stands_in_the_readme(verb):
    done = subprocess.run([sys.executable, "-m", "shrinkscope", verb, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert f"Example: shrinkscope {verb}" in " ".join(done.stdout.split())
    assert f"shrinkscope {verb}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_reproduction_is_what_its_records_say(monkeypatch):
    # One study of several, because every interval is a bootstrap: its tables must stand in the page as they are.
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    generate = pytest.importorskip("generate")
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    made = generate.reproduction_page(only="digits-paper")
    assert made.partition("\n## What was run")[0] == page.partition("\n## What was run")[0]
    section = made[made.index("\n## digits-paper\n") :].strip()
    assert len(section) > 3000
    assert section in page
