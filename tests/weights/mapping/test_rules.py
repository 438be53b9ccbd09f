"""Rules from files and merged; patterns filled from names."""

import pytest

from shrinkscope.errors import PairingError
from shrinkscope.weights.mapping import Alignment, Factors, Fusion, Rename, Rules, read_kept, read_rules
from shrinkscope.weights.mapping.names import fields, filled

TEXT = """
heads = 12
prefixes = false
adapter = "a/adapter_config.json"

[[rename]]
pattern = '^h\\.'
replacement = "layers."
side = "dense"

[[fusions]]
fused = "*.kv.*"
parts = ["*.k.*", "*.v.*"]
layout = "heads"

[[factors]]
left = "*.P"
right = "*.Q"
product = "*.weight"

[kept]
conv1 = [3, 1]

[alignment]
margin = 0.1
certainty = 0.5
"""

EXPECTED = Rules(
    rename=(Rename(pattern=r"^h\.", replacement="layers.", side="dense"),),
    prefixes=False,
    fusions=(Fusion(fused="*.kv.*", parts=("*.k.*", "*.v.*"), layout="heads"),),
    factors=(Factors(left="*.P", right="*.Q", product="*.weight"),),
    adapter="a/adapter_config.json",
    heads=12,
    kept={"conv1": (3, 1)},
    alignment=Alignment(margin=0.1, certainty=0.5),
)


def test_a_file_says_all_that_rules_can(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(TEXT)
    assert read_rules(path) == EXPECTED


def test_rules_merge_in_order_and_the_later_single_value_counts():
    late = Rules(rename=(Rename(pattern="a", replacement="b"),), heads=3, kept={"fc": (0,)})
    both = EXPECTED.merged(late)
    assert both.rename == EXPECTED.rename + late.rename
    assert (both.heads, both.prefixes, both.adapter) == (3, False, "a/adapter_config.json")
    assert both.kept == {"conv1": (3, 1), "fc": (0,)}
    assert both.alignment == EXPECTED.alignment
    assert EXPECTED.merged(Rules()) == Rules().merged(EXPECTED) == EXPECTED


@pytest.mark.parametrize("text", ["head = 3", "heads = 'x'", "=", "[[rename]]\npattern = 'a'"])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(PairingError, match="not a readable file of rules"):
        read_rules(path)
    with pytest.raises(PairingError, match="No such file"):
        read_rules(tmp_path / "missing.toml")


def test_kept_channels_from_a_file(tmp_path):
    path = tmp_path / "kept.json"
    path.write_text('{"conv1": [0, 2], "fc.weight[1]": [5]}')
    assert read_kept(path) == {"conv1": (0, 2), "fc.weight[1]": (5,)}
    path.write_text('{"conv1": "all"}')
    with pytest.raises(PairingError, match=r"not a readable file of kept channels .*expected \{\"conv1\""):
        read_kept(path)


@pytest.mark.parametrize(
    ("pattern", "name", "texts"),
    [
        ("*.q.*", "a.b.q.weight", ("a.b.", "weight")),
        ("*.q.*", "q.bias", ("", "bias")),
        ("*.q.*", "a.xq.weight", None),
        ("*_u", "a.fc_u", ("a.fc",)),
        ("*.e.#.w", "m.e.12.w", ("m.", "12")),
        ("*.e.#.w", "m.e.x.w", None),
        ("q.weight", "q.weight", ()),
    ],
)
def test_what_wildcards_stand_for(pattern, name, texts):
    assert fields(pattern, name) == texts
    if texts is not None:
        assert filled(pattern, texts) == name


def test_a_whole_name_can_be_put_where_modules_are_expected():
    assert filled("*.weight", ("a.fc",)) == "a.fc.weight"
