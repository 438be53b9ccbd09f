"""Plans through torch.nn.utils.prune: the same zeros as ``apply``, and masks that training does not undo."""

import copy
import subprocess
import sys

import msgspec
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from shrinkscope.analysis.plan import Plan, PlanRow, PlanSettings
from shrinkscope.errors import CompressionError, IntegrationError
from shrinkscope.integrations.torch_prune import apply_torch_prune, make_permanent, prune_by_counts, torch_prune_script

RUN = """
import sys, torch, pruning
model = torch.load("model.pt", weights_only=False)
pruning.prune_by_counts(model, pruning.COUNTS)
held = sorted(name for name in model.state_dict() if name.endswith("_mask"))
pruning.make_permanent(model)
torch.save((held, model.state_dict()), "pruned.pt")
assert not [name for name in sys.modules if name.startswith("shrinkscope")]
"""


def test_the_script_runs_without_shrinkscope_and_makes_the_zeros_of_apply(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter * 16).round() / 16)  # equal magnitudes, of both signs
    model[4].weight = model[3].weight
    rows = tuple(
        PlanRow(layer=f"{n}.weight", weights=w, removed=r) for n, w, r in [(0, 108, 41), (3, 36, 17), (5, 18, 0)]
    )
    made = Plan(rows=rows, settings=PlanSettings(allocation="hand"))
    torch.save(model, tmp_path / "model.pt")
    (tmp_path / "pruning.py").write_text(torch_prune_script(made))
    subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, check=True)
    held, found = torch.load(tmp_path / "pruned.pt")
    made.apply(model)
    expected = model.state_dict()
    assert held == ["0.weight_mask", "3.weight_mask", "4.weight_mask"]  # tied in both places, the dense one not
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


def test_masks_are_those_of_apply_and_stay_through_training(network, made):
    expected = copy.deepcopy(network)
    mask = made.apply(expected)
    assert apply_torch_prune(made, network) == mask
    for module, other in zip(network.modules(), expected.modules(), strict=True):
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert torch.equal(module.weight, other.weight)
            assert torch.equal(module.weight_orig.detach() * module.weight_mask, module.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(4, 1, 6, 6)).square().sum().backward()
        optimizer.step()
    make_permanent(network)
    assert not prune.is_pruned(network)
    assert network.second.weight.equal(network.first.weight)
    for name, kept in mask.items():
        weight = network.get_parameter(name)
        assert bool((weight[~kept] == 0).all()), name
        assert not torch.equal(weight, expected.get_parameter(name)), name


def test_what_the_script_has_prunes_as_apply_does(network, made):
    pruned = copy.deepcopy(network)
    prune_by_counts(pruned, {row.layer: (row.removed, row.weights) for row in made.rows})
    make_permanent(pruned)
    made.apply(network)
    for name, weight in network.named_parameters():
        assert torch.equal(pruned.get_parameter(name), weight), name
    with pytest.raises(ValueError, match="head.weight has 160 weights and the plan is for 161"):
        prune_by_counts(network, {"head.weight": (1, 161)})


def test_what_cannot_be_pruned_so_is_refused_and_nothing_is_changed(network, made):
    with pytest.raises(
        CompressionError, match="the plan is for stem.weight, which is not there; the layers are 0.weight"
    ):
        apply_torch_prune(made, nn.Sequential(nn.Linear(2, 2)))
    prune.identity(network.wide, "weight")
    with pytest.raises(CompressionError, match="wide.weight is pruned by torch.nn.utils.prune; make that permanent"):
        apply_torch_prune(made, network)
    assert not prune.is_pruned(network.stem)
    moved = msgspec.structs.replace(made, settings=msgspec.structs.replace(made.settings, within="compensated"))
    with pytest.raises(IntegrationError, match="moves no weights, and this plan is for weights that make up"):
        torch_prune_script(moved)
    with pytest.raises(CompressionError, match="this plan is for weights that make up for those that go"):
        apply_torch_prune(moved, network)
    dense = msgspec.structs.replace(made, rows=tuple(msgspec.structs.replace(row, removed=0) for row in made.rows))
    with pytest.raises(IntegrationError, match="the plan removes nothing: there is nothing to export"):
        torch_prune_script(dense)
