"""Rules: what is read of them, and where they are wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.analysis.rule import parse_rule
from shrinkscope.errors import SelectionError

COLUMNS = ["relative_ap2", "sparsity", "pattern", "ap3_gaussian"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("relative_ap2 > 0.02 in *.down_proj", ("relative_ap2", ">", 0.02, "tensors", "*.down_proj", False)),
        ("  sparsity<50%", ("sparsity", "<", 0.5, "tensors", "*", False)),
        ("sparsity < 50 % in total", ("sparsity", "<", 0.5, "total", "*", False)),
        ("ap3_gaussian >= 1e3 in block", ("ap3_gaussian", ">=", 1000.0, "block", "*", False)),
        ("ap3_gaussian >= -1 in role mlp.*", ("ap3_gaussian", ">=", -1.0, "role", "mlp.*", False)),
        ("pattern != 2:4 in *_proj ignoring missing", ("pattern", "!=", "2:4", "tensors", "*_proj", True)),
        ("pattern == none", ("pattern", "==", "none", "tensors", "*", False)),
        ('relative_ap2 > .5 in "total"', ("relative_ap2", ">", 0.5, "tensors", "total", False)),
        ('relative_ap2 > 1 in block "a b" ignoring missing', ("relative_ap2", ">", 1.0, "block", "a b", True)),
        ("relative_ap2 != 0 in total ignoring  missing ", ("relative_ap2", "!=", 0.0, "total", "*", True)),
    ],
)
def test_a_rule_is_read(text, expected):
    rule = parse_rule(text, COLUMNS)
    found = (rule.column, rule.comparator, rule.limit, rule.scope, rule.glob, rule.ignoring_missing)
    assert found == expected
    assert rule.text == text.strip()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: expected a column, found the end"),
        ("  > 3", "character 3: expected a column, found '>'"),
        (
            "relative_ap3 > 1",
            r"character 1: no column 'relative_ap3' \(did you mean 'relative_ap2'\?\). The columns are r",
        ),
        ("x > 1", "no column 'x'. The columns are relative_ap2, sparsity, pattern, ap3_gaussian"),
        ("relative_ap2 = 1", r"character 14: expected one of >= <= == != > <, found '=' \(did you mean '=='\?\)"),
        ("relative_ap2", "character 13: expected one of"),
        ("relative_ap2 > much", "character 16: expected a number, found 'much'"),
        ("relative_ap2 > 1.2.3", "character 16: '1.2.3' is not a number"),
        ("relative_ap2 > 1e999", "'1e999' is not a number"),
        ("relative_ap2 > 1 inside x", "character 18: expected the end, found 'inside'; a rule is COLUMN > NUMBER"),
        (
            "relative_ap2 > 1 in",
            "character 20: expected a glob, total, or one of layer, block, role, expert, mixture after 'in'",
        ),
        ("relative_ap2 > 1 in blok layers.*", r"character 25: .*'blok' is no kind of group \(did you mean 'block'\?\)"),
        ("relative_ap2 > 1 in a* b*", "character 24: expected the end, found 'b\\*'"),
        ("relative_ap2 > 1 ignoring", "character 18: expected the end, found 'ignoring'"),
        ("relative_ap2 > 1; import os", "character 17: expected the end, found ';'"),
        ("pattern > 2:4", "character 9: pattern is a text, which can only be compared with == or !="),
        ("pattern == sparse", "character 12: expected a pattern such as 2:4, or none, found 'sparse'"),
    ],
)
def test_a_rule_that_is_wrong_says_where(text, message):
    with pytest.raises(SelectionError, match=message) as caught:
        parse_rule(text, COLUMNS)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_an_error(text):
    try:
        rule = parse_rule(text, COLUMNS)
    except SelectionError:
        return
    assert rule.column in COLUMNS


def test_a_name_is_covered_with_or_without_its_last_weight():
    rule = parse_rule("sparsity < 1 in *.down_proj", COLUMNS)
    assert rule.covers("layers.0.mlp.down_proj.weight")
    assert rule.covers("layers.0.mlp.down_proj")
    assert not rule.covers("layers.0.mlp.down_proj.bias")
