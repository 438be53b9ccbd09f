"""Names made to match: rules, wrappers, prefixes, and what is too doubtful to decide."""

import pytest
import torch

from shrinkscope.errors import PairingError
from shrinkscope.weights import open_weights
from shrinkscope.weights.mapping import Rename, Rules, Step, comparable

NAMES = ("layers.0.fc.weight", "layers.0.fc.bias", "layers.1.fc.weight", "head.weight")


def network(names, sizes=None) -> dict[str, torch.Tensor]:
    return {name: torch.full((2, 3 + (sizes or {}).get(name, 0)), float(i)) for i, name in enumerate(names)}


def mapped(dense, compressed, *rename: Rename) -> Step:
    return comparable(open_weights(dense), open_weights(compressed), Rules(rename=rename))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "module.", "prefix 'module.' removed"),
        ("", "base_model.model.", "prefix 'base_model.model.' removed"),
        ("module.", "", "prefix 'module.' added"),
        ("model.", "module.encoder.", "prefix 'module.encoder.' removed and prefix 'model.' added"),
        ("", "_orig_mod.", "marks of wrappers removed"),
        ("_orig_mod.", "module.", "prefix 'module.' removed and prefix '_orig_mod.' added"),
    ],
)
def test_prefixes_are_exchanged_and_said(before, after, said):
    dense = network([before + name for name in NAMES])
    step = mapped(dense, network([after + name for name in NAMES]))
    assert set(step.compressed) == set(dense)
    assert all(torch.equal(step.compressed[name].read(), dense[name]) for name in dense)
    [note] = step.notes
    assert note.kind == "renamed"
    assert said in note.text
    assert f"{len(NAMES)} tensors" in note.text


def test_a_prefix_of_some_names_only_leaves_the_others():
    dense = network(NAMES)
    after = network([name if name.startswith("head") else f"model.{name}" for name in NAMES])
    step = mapped(dense, after)
    assert set(step.compressed) == set(dense)
    assert "3 tensors" in step.notes[0].text


def test_marks_inside_names_are_removed():
    step = mapped(network(NAMES), network([name.replace(".fc", ".fc._orig_mod") for name in NAMES]))
    assert set(step.compressed) == set(NAMES)


def test_equal_names_are_left_alone():
    step = mapped(network(NAMES), network(NAMES[1:]))
    assert step.notes == ()
    assert set(step.compressed) == set(NAMES[1:])


def test_shapes_decide_between_two_towers():
    dense = network([f"{tower}.{name}" for tower in ("encoder", "decoder") for name in NAMES])
    dense = {name: t if name.startswith("encoder") else torch.zeros(5, 5) for name, t in dense.items()}
    step = mapped(dense, network(NAMES))
    assert all(name.startswith("encoder.") for name in step.compressed)


def test_two_equal_ways_are_an_error_with_both_sides_names():
    dense = network([f"{tower}.{name}" for tower in ("encoder", "decoder") for name in NAMES])
    message = (
        r"match equally well with prefix '' → '(en|de)coder.' and with .*decoder.head.weight.*layers.0.fc.*--rename"
    )
    with pytest.raises(PairingError, match=message):
        mapped(dense, network(NAMES))


def test_a_few_matches_by_accident_are_an_error():
    dense = network(["a.w", "a.x", "a.y", "b.z", "c.z"])
    with pytest.raises(PairingError, match=r"fewer than half of the names match .*--rename 'PATTERN=REPLACEMENT'"):
        mapped(dense, network(["q.w", "q.r.s.t", "q.m.n.o", "q.f.g.h", "q.k.l.m", "q.k.l.n"]))


def test_rules_are_applied_in_order_and_to_the_asked_side():
    rules = (
        Rename(pattern=r"^h\.", replacement="layers."),
        Rename(pattern=r"\.dense\.", replacement=".fc."),
        Rename(pattern="^top$", replacement="head.weight", side="dense"),
    )
    dense = network([*NAMES[:3], "top"])
    after = network(["h.0.dense.weight", "h.0.dense.bias", "h.1.dense.weight", "head.weight"])
    step = mapped(dense, after, *rules)
    assert set(step.compressed) == set(step.dense) == set(NAMES)
    assert step.notes[0].text.startswith("3 renamed by '^h\\\\.' → 'layers.': h.0.dense.weight")


def test_groups_of_a_pattern_can_be_used():
    step = mapped(network(["fc0.w", "fc1.w"]), network(["0.w", "1.w"]), Rename.parse(r"^(\d+)\.=fc\1."))
    assert set(step.compressed) == {"fc0.w", "fc1.w"}


def test_a_rule_that_matches_nothing_shows_the_names():
    with pytest.raises(PairingError, match=r"rename 'zzz' matches no name; the names are like layers.0.fc.weight"):
        mapped(network(NAMES), network(NAMES), Rename(pattern="zzz", replacement=""))


def test_two_tensors_with_one_new_name_are_refused():
    with pytest.raises(PairingError, match=r"layers.0.fc.weight and layers.1.fc.weight would both be renamed"):
        mapped(network(NAMES), network(NAMES), Rename(pattern=r"\d", replacement="0"))


@pytest.mark.parametrize(("pattern", "replacement"), [("(", ""), ("a", r"\1")])
def test_what_is_no_regular_expression_is_refused(pattern, replacement):
    with pytest.raises(PairingError, match="is not a regular expression"):
        Rename(pattern=pattern, replacement=replacement)


@pytest.mark.parametrize("text", ["abc", "=x"])
def test_a_renaming_needs_its_equals_sign(text):
    with pytest.raises(PairingError, match="expected PATTERN=REPLACEMENT"):
        Rename.parse(text)


def test_tied_and_unreadable_names_are_renamed_too():
    shared = torch.ones(2, 2)
    step = mapped(network(NAMES), {f"module.{n}": shared for n in NAMES})
    assert set(step.compressed.tied) | set(step.compressed) == set(NAMES)
