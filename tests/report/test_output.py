import sys

import pytest

from shrinkscope.report.output import WIDEST, standard_output


def test_without_a_terminal_a_report_is_as_wide_as_the_widest_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    for stream in ("stdout", "stderr", "stdin"):  # a console asks each of them for its width
        assert not getattr(sys, stream).isatty()
    assert standard_output().width == WIDEST
    assert standard_output(without_terminal=170).width == 170
    monkeypatch.setenv("COLUMNS", "90")
    assert standard_output().width == 90
