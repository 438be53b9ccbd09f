"""Pairing by name, and every mismatch explained."""

import pytest
import torch

from shrinkscope.errors import PairingError, SelectionError
from shrinkscope.weights import LayerSelection, Pairing, open_weights, pair
from shrinkscope.weights.mapping import Rename, Rules

EVERYTHING = LayerSelection()


def paired(dense: dict, compressed: dict, selection: LayerSelection = EVERYTHING) -> Pairing:
    return pair(open_weights(dense), open_weights(compressed), selection)


def test_names_are_paired_in_the_order_of_the_dense_network():
    one, two = torch.ones(2), torch.ones(3)
    pairing = paired({"a": one, "b": two}, {"b": two.clone(), "a": one.clone()})
    assert [p.dense.name for p in pairing.pairs] == ["a", "b"]
    assert pairing.mismatches == ()


def test_every_kind_of_mismatch_is_explained():
    shared = torch.ones(4)
    dense = {
        "same": torch.ones(2),
        "gone": torch.ones(3),
        "cut": torch.ones(4, 3),
        "half": torch.ones(2),
        "t": shared.clone(),
    }
    compressed = {
        "same": torch.ones(2),
        "cut": torch.ones(2, 3),
        "half": torch.ones(2, dtype=torch.float16),
        "new": torch.ones(1),
        "s": shared,
        "t": shared,
    }
    pairing = paired(dense, compressed)
    assert [p.dense.name for p in pairing.pairs] == ["same", "half", "t"]
    assert {m.layer: m.kind for m in pairing.mismatches} == {
        "gone": "missing",
        "cut": "shape",
        "half": "dtype",
        "t": "tied",
        "new": "extra",
        "s": "extra",
    }
    text = {m.layer: m.explanation for m in pairing.mismatches}
    assert text["cut"].startswith(
        "cut is 4×3 before and 2×3 after: not compared value by value; its kept channels could"
    )
    assert text["half"] == "half is float32 before and float16 after: compared as numbers, in float64"


def test_weights_tied_on_one_side_only_are_still_paired():
    shared = torch.ones(2)
    pairing = paired({"a": shared, "b": shared}, {"a": torch.ones(2), "b": torch.zeros(2)})
    assert [p.dense.name for p in pairing.pairs] == ["a", "b"]
    assert pairing.pairs[1].compressed.read().tolist() == [0, 0]
    assert [(m.layer, m.kind) for m in pairing.mismatches] == [("b", "tied")]
    assert pairing.mismatches[0].explanation.startswith("b shares the values of a in state dict only")


def test_nothing_in_common_shows_both_sides_names():
    with pytest.raises(
        PairingError, match=r"no tensor has the same name in state dict \(a, b\) and in state dict \(x\)"
    ):
        paired({"a": torch.ones(1), "b": torch.zeros(1)}, {"x": torch.ones(1)})


def test_a_selection_of_nothing_shows_what_there_is():
    with pytest.raises(PairingError, match=r"matches no tensor; the names are like a"):
        paired({"a": torch.ones(1)}, {"a": torch.ones(1)}, LayerSelection(include=("z*",)))


def test_selection_by_glob_exclusion_and_role():
    dense = {"x.conv.weight": torch.ones(1, 1, 3, 3), "x.fc.weight": torch.ones(2, 2), "x.fc.bias": torch.ones(2)}
    pairing = paired(
        dense, dense, LayerSelection(include=("x.*",), exclude=("*.conv.*",), roles=("linear", "convolution"))
    )
    assert [p.dense.name for p in pairing.pairs] == ["x.fc.weight"]


def test_an_unknown_role_lists_the_known_ones():
    with pytest.raises(SelectionError, match=r"unknown role 'conv'; the roles are convolution, linear"):
        LayerSelection(roles=("conv",))  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, "*", ["*"], LayerSelection()])
def test_every_way_to_ask_for_everything(given):
    assert LayerSelection.of(given) == LayerSelection()


def test_the_decisions_of_the_mapping_are_listed_for_selected_tensors():
    dense = {"fc.weight": torch.ones(3, 2), "fc.bias": torch.ones(3)}
    after = {f"module.{name}": tensor for name, tensor in dense.items()}
    pairing = paired(dense, after)
    assert [p.dense.name for p in pairing.pairs] == ["fc.weight", "fc.bias"]
    assert [(m.layer, m.kind) for m in pairing.mismatches] == [("fc.weight", "mapped")]
    factors = {"fc.U": torch.ones(3, 1), "fc.V": torch.ones(1, 2), "fc.bias": torch.ones(3)}
    assert [m.kind for m in paired(dense, factors).mismatches] == ["mapped"]
    assert paired(dense, factors, LayerSelection(include=("*.bias",))).mismatches == ()


def test_rules_reach_the_mapping():
    rules = Rules(rename=(Rename(pattern="^x$", replacement="a"),))
    pairing = pair(open_weights({"a": torch.ones(1)}), open_weights({"x": torch.ones(1)}), EVERYTHING, rules)
    assert [p.dense.name for p in pairing.pairs] == ["a"]


def test_what_was_recognised_and_refused_is_listed():
    dense = {f"{part}_proj.weight": torch.ones(4, 3) for part in "qkv"} | {"b": torch.ones(1)}
    pairing = paired(dense, {"query_key_value.weight": torch.ones(12, 3), "b": torch.ones(1)})
    assert [m.kind for m in pairing.mismatches] == ["missing", "missing", "missing", "extra", "refused"]
