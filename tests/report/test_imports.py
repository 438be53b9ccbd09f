import subprocess
import sys

import pytest

import shrinkscope.report

SCRIPT = "import sys; {}; print([name for name in {!r} if name in sys.modules])"


def loaded(statement: str, names: list[str]) -> str:
    script = SCRIPT.format(statement, names)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    ).stdout


def test_nothing_heavy_is_imported_before_it_is_used():
    heavy = ["matplotlib", "pandas", "jinja2", "torch", "rich"]
    assert loaded("import shrinkscope.report", heavy).strip() == "[]"


def test_printing_a_table_does_not_load_what_draws_figures():
    assert loaded("from shrinkscope.report import print_comparison", ["matplotlib", "jinja2"]).strip() == "[]"


def test_every_public_name_exists():
    for name in shrinkscope.report.__all__:
        assert callable(getattr(shrinkscope.report, name))


def test_a_name_that_does_not_exist_is_an_ordinary_error():
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        shrinkscope.report.no_such_name  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
