"""Rules of what a compression must not do, as users write them: ``relative_ap2 > 0.02 in *.down_proj``."""

import math
import operator
import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NoReturn

import msgspec

from shrinkscope.analysis.grouping import GROUPINGS
from shrinkscope.analysis.place import without_weight
from shrinkscope.errors import SelectionError

TENSORS, TOTAL = "tensors", "total"
TEXTS = frozenset({"pattern"})
NO_PATTERN = "none"

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_COLUMN, _OPERATOR = re.compile(r"\s*([^\W\d]\w*)"), re.compile(r"\s*(>=|<=|==|!=|>|<)")
_NUMBER, _PATTERN = re.compile(r"\s*([+-]?[\d.][\w.+-]*)(?:\s*(%))?"), re.compile(r"\s*([\w:]+)")
_WORD, _END = re.compile(r"\s*(\"[^\"]*\"|\S+)"), re.compile(r"\s*")
_IN, _IGNORING = re.compile(r"\s+in\b"), re.compile(r"\s+ignoring\s+missing\s*$")
_FORM = "COLUMN > NUMBER [in GLOB | in total | in block GLOB] [ignoring missing]"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that no row may meet.

    Attributes:
        text: The rule as it was written.
        column: Whose values are looked at.
        comparator: ``>``, ``>=``, ``<``, ``<=``, ``==`` or ``!=``.
        limit: What they are compared with; a text for the column ``pattern``.
        scope: ``tensors``, ``total``, or the groups ``layer``, ``block``, ``role`` or ``expert``.
        glob: Which of them, by name.
        ignoring_missing: Whether rows without a value pass, as long as one has a value.
    """

    text: str
    column: str
    comparator: str
    limit: float | str
    scope: str = TENSORS
    glob: str = "*"
    ignoring_missing: bool = False

    def covers(self, name: str) -> bool:
        """Whether the rule is about the row of this name; a last ``.weight`` may be left out."""
        return fnmatchcase(name, self.glob) or fnmatchcase(without_weight(name), self.glob)

    def met_by(self, value: float | str) -> bool:
        """Whether a value meets the condition, so that the gate fails."""
        return _OPERATORS[self.comparator](value, self.limit)  # type: ignore[arg-type]  # both are numbers or texts


def parse_rule(text: str, columns: Collection[str]) -> Rule:
    """Read a rule.

    Args:
        text: ``COLUMN > NUMBER``, with any comparison, then optionally ``in`` and where, then optionally
            ``ignoring missing``. Where is a glob of tensors' names, ``total``, or ``layer``, ``block``, ``role`` or
            ``expert`` with or without a glob of their names. A number may end in ``%``.
        columns: The columns that there will be.

    Returns:
        The rule.

    Raises:
        SelectionError: If it is not of this form, with the place where it is not, or there is no such column.

    >>> parse_rule("relative_ap2 > 2% in block layers.*", ["relative_ap2"]).limit
    0.02
    """
    reader = _Reader(text)
    column = reader.column(columns)
    comparator = reader.comparator(column)
    limit = reader.pattern() if column in TEXTS else reader.number()
    ignoring = reader.ignoring_missing()
    scope, glob = reader.where()
    reader.finish()
    return Rule(
        text=text.strip(),
        column=column,
        comparator=comparator,
        limit=limit,
        scope=scope,
        glob=glob,
        ignoring_missing=ignoring,
    )


class _Reader:
    """A rule, and how much of it is read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.end = len(text)

    def column(self, columns: Collection[str]) -> str:
        self.place = self._blank()
        found = _COLUMN.match(self.text, self.place)
        if found is None:
            self._fail(f"expected a column, found {self._next()}")
        if found[1] not in columns:
            self._fail(f"no column {found[1]!r}{_near(found[1], columns)}. The columns are {', '.join(columns)}")
        self.place = found.end()
        return found[1]

    def comparator(self, column: str) -> str:
        self.place = self._blank()
        found = _OPERATOR.match(self.text, self.place)
        if found is None:
            hint = " (did you mean '=='?)" if self.text.startswith("=", self.place) else ""
            self._fail(f"expected one of {' '.join(_OPERATORS)}, found {self._next()}{hint}")
        if column in TEXTS and found[1] not in ("==", "!="):
            self._fail(f"{column} is a text, which can only be compared with == or !=")
        self.place = found.end()
        return found[1]

    def number(self) -> float:
        self.place = self._blank()
        found = _NUMBER.match(self.text, self.place)
        if found is None:
            self._fail(f"expected a number, found {self._next()}")
        try:
            amount = float(found[1])
        except ValueError:
            amount = math.nan
        if not math.isfinite(amount):
            self._fail(f"{found[1]!r} is not a number")
        self.place = found.end()
        return amount / 100 if found[2] else amount

    def pattern(self) -> str:
        self.place = self._blank()
        found = _PATTERN.match(self.text, self.place)
        if found is None or not (found[1] == NO_PATTERN or re.fullmatch(r"\d+:\d+", found[1])):
            self._fail(f"expected a pattern such as 2:4, or {NO_PATTERN}, found {self._next()}")
        self.place = found.end()
        return found[1]

    def ignoring_missing(self) -> bool:
        found = _IGNORING.search(self.text, self.place)
        self.end = found.start() if found else self.end
        return found is not None

    def where(self) -> tuple[str, str]:
        found = _IN.match(self.text, self.place, self.end)
        if found is None:
            return TENSORS, "*"
        self.place = found.end()
        first = self._name() or self._fail("expected a glob, total, or one of " + ", ".join(GROUPINGS) + " after 'in'")
        if first == TOTAL or first not in GROUPINGS:
            return (TOTAL, "*") if first == TOTAL else (TENSORS, self._glob(first))
        return first, (self._name() or "*").strip('"')

    def _glob(self, word: str) -> str:
        scopes = get_close_matches(word, (TOTAL, *GROUPINGS), n=1)
        if scopes and self._blank() < self.end:
            self._fail(f"one glob is enough after 'in', and {word!r} is no kind of group{_near(word, scopes)}")
        return word.strip('"')

    def finish(self) -> None:
        self.place = self._blank()
        if self.place < self.end:
            self._fail(f"expected the end, found {self._next()}; a rule is {_FORM}")

    def _name(self) -> str:
        found = _WORD.match(self.text, self.place, self.end)
        self.place = found.end() if found else self.place
        return found[1] if found else ""

    def _blank(self) -> int:
        found = _END.match(self.text, self.place)
        return found.end() if found else self.place

    def _next(self) -> str:
        found = _WORD.match(self.text, self.place)
        return repr(found[1]) if found else "the end"

    def _fail(self, what: str) -> NoReturn:
        raise SelectionError(f"rule {self.text!r}, character {self.place + 1}: {what}")


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
