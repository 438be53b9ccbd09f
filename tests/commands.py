"""The command line called in the process of the tests."""

import sys
from collections.abc import Callable, Sequence

import pytest

from shrinkscope.cli import main

Said = tuple[int, str, str]
"""Exit code, standard output and standard error."""


def command(*verb: str, last: Sequence[str] = ()) -> Callable[..., Said]:
    """A function that calls a verb, with ``last`` behind its arguments, and returns what it said.

    It takes pytest's ``monkeypatch`` and ``capsys`` before the arguments.
    """

    def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["shrinkscope", *verb, *map(str, arguments), *last])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run
