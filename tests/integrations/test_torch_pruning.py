"""Plans as Torch-Pruning's ratios, run by Torch-Pruning."""

import copy
import importlib.util
import math
import sys

import msgspec
import pytest
import torch
import torch_pruning
from torch import nn

from shrinkscope.analysis.plan import Plan, PlanRow, PlanSettings, plan
from shrinkscope.errors import CompressionError, IntegrationError
from shrinkscope.integrations.torch_pruning import pruning_ratio_dict, torch_pruning_script

INPUTS = torch.zeros(1, 1, 6, 6)


def prune(network: nn.Module, ratios: dict[nn.Module, float]) -> None:
    """One step of Torch-Pruning's own pruner."""
    importance = torch_pruning.importance.MagnitudeImportance()
    pruner = torch_pruning.pruner.MagnitudePruner(
        network, INPUTS, importance, pruning_ratio=0.0, pruning_ratio_dict=ratios
    )
    pruner.step()


def kept(channels: int, level: float) -> int:
    """Channels that Torch-Pruning leaves, which rounds them down."""
    return int(channels * (1 - (1 - math.sqrt(1 - level))))


def test_torch_pruning_removes_as_many_channels_as_the_plan_says(network, made):
    network.second.weight = nn.Parameter(network.second.weight.detach().clone())  # tied weights cannot lose channels
    levels = {row.layer.removesuffix(".weight"): (row.level, row.weights) for row in made.rows}
    prune(network, pruning_ratio_dict(made, network, INPUTS))
    # Outputs of stem, block and depthwise are one set of channels: one ratio, the mean over their weights.
    shared = [levels[name] for name in ("stem", "block", "depthwise")]
    ratio = sum((1 - math.sqrt(1 - level)) * size for level, size in shared) / sum(size for _, size in shared)
    channels = int(8 * (1 - ratio))
    assert network.stem.out_channels == network.block.out_channels == network.block.in_channels == channels
    assert network.norm.num_features == network.depthwise.groups == network.wide.in_channels == channels
    assert network.wide.out_channels == network.first.in_features == kept(16, levels["wide"][0])
    assert network.first.out_features == network.second.in_features == kept(16, levels["first"][0])
    assert (network.second.out_features, network.head.out_features) == (16, 10)  # not in the plan; the outputs
    assert network(torch.randn(2, 1, 6, 6)).shape == (2, 10)


def test_one_level_for_all_layers_leaves_the_weights_that_the_plan_leaves():
    network = nn.Sequential(*[nn.Linear(100, 100, bias=False) for _ in range(6)])
    rows = tuple(PlanRow(layer=f"{index}.weight", weights=10_000, removed=7_500) for index in range(6))
    made = Plan(rows=rows, settings=PlanSettings(allocation="uniform"))
    importance = torch_pruning.importance.MagnitudeImportance()
    inputs = torch.zeros(1, 100)
    ratios = pruning_ratio_dict(made, network, inputs)
    assert list(ratios.values()) == [0.5] * 5  # the last makes the outputs
    torch_pruning.pruner.MagnitudePruner(
        network, inputs, importance, pruning_ratio=0.0, pruning_ratio_dict=ratios
    ).step()
    assert [layer.weight.numel() for layer in network] == [5_000, 2_500, 2_500, 2_500, 2_500, 5_000]


def test_levels_are_taken_as_channels_where_that_is_asked_for(network, made):
    ratios = pruning_ratio_dict(made, network, INPUTS, ratio="channels")
    levels = {row.layer: row.level for row in made.rows}
    assert ratios[network.wide] == levels["wide.weight"]


def test_the_script_has_the_same_ratios(network, made, tmp_path):
    (tmp_path / "ratios.py").write_text(torch_pruning_script(made))
    spec = importlib.util.spec_from_file_location("ratios", tmp_path / "ratios.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.coupled_ratios(network, INPUTS, script.RATIOS) == pruning_ratio_dict(made, network, INPUTS)


def test_what_it_cannot_be_told_is_refused(network, made, monkeypatch):
    with pytest.raises(CompressionError, match="stem.weight, which is not there"):
        pruning_ratio_dict(made, nn.Linear(2, 2), INPUTS)
    with pytest.raises(CompressionError, match="ratio is 'rows'; expected one of weights, channels"):
        torch_pruning_script(made, ratio="rows")
    row = msgspec.structs.replace(made.rows[0], removed=made.rows[0].weights)
    with pytest.raises(IntegrationError, match="removes all of stem, and Torch-Pruning keeps a channel of every layer"):
        torch_pruning_script(msgspec.structs.replace(made, rows=(row,)))
    row = msgspec.structs.replace(made.rows[0], layer="attention.in_proj_weight")
    with pytest.raises(
        IntegrationError, match="Torch-Pruning prunes the weight of a module, and the plan prunes atten"
    ):
        torch_pruning_script(msgspec.structs.replace(made, rows=(row,)))
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(IntegrationError, match="torch_pruning cannot be imported .*; pip install torch-pruning"):
        pruning_ratio_dict(made, copy.deepcopy(network), INPUTS)


def test_a_plan_of_channels_says_how_many_torch_pruning_removes(network):
    network.second.weight = nn.Parameter(network.second.weight.detach().clone())
    inputs = torch.randn(32, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    made = plan(network, method="structured", flops=0.4, inputs=inputs, budget=500.0)
    gone = {group.name: group.removed for group in made.groups}
    assert sum(number > 0 for number in gone.values()) > 1
    smaller = made.narrowed(network)
    prune(network, pruning_ratio_dict(made, network, INPUTS))
    found = {name: module.weight.shape for name, module in network.named_modules() if hasattr(module, "weight")}
    assert found == {name: module.weight.shape for name, module in smaller.named_modules() if hasattr(module, "weight")}
    assert network(inputs).shape == (32, 10)


def test_a_plan_of_channels_that_removes_none_is_refused(network):
    inputs = torch.randn(8, 1, 6, 6)
    made = plan(network, method="structured", size="1x", inputs=inputs, budget=50.0, allocation="uniform")
    assert made.removed == 0
    with pytest.raises(IntegrationError, match="the plan removes nothing: there is nothing to export"):
        torch_pruning_script(made)
