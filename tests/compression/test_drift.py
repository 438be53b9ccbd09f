"""Mask drift: exact counts and what it says."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from shrinkscope.compression import LayerDrift, MagnitudePruning, Mask, mask_drift, prune
from shrinkscope.errors import CompressionError


def test_no_drift(network: nn.Module) -> None:
    mask = prune(network, MagnitudePruning(level=0.3))
    drift = mask_drift(network, mask)
    assert [row.layer for row in drift.rows] == list(mask)
    assert (drift.drifted, drift.nonzero, drift.removed) == (False, 0, mask.removed())
    assert drift.message() == f"no mask drift: all {mask.removed()} removed weights are zero"


def test_revived_weights_are_counted(network: nn.Module) -> None:
    mask = Mask({"conv.weight": torch.zeros(6, 1, 3, 3), "head.weight": torch.zeros(4, 12)})
    prune(network, mask)
    with torch.no_grad():
        network.get_parameter("head.weight")[0, :3] = torch.tensor([1e-300, math.nan, -0.0], dtype=torch.float64)
    drift = mask_drift(network, mask)
    assert drift.rows == (
        LayerDrift(layer="conv.weight", removed=54, nonzero=0),
        LayerDrift(layer="head.weight", removed=48, nonzero=2),
    )
    assert drift.drifted
    assert drift.message() == (
        "mask drift: 2 of 102 removed weights are not zero, in 1 of 2 layers, most in head.weight (2 of 48); "
        "hold(model, mask) keeps them at zero through training"
    )


def test_zeros_where_the_mask_keeps_are_no_drift(network: nn.Module) -> None:
    mask = Mask({"head.weight": torch.ones(4, 12)})
    with torch.no_grad():
        network.get_parameter("head.weight").zero_()
    assert not mask_drift(network, mask).drifted


def test_effective_weights_count_under_torch_pruning(network: nn.Module) -> None:
    head = network.get_submodule("head")
    torch_prune.l1_unstructured(head, "weight", amount=0.5)
    mask = Mask({"head.weight": head.weight_mask})  # type: ignore[dict-item]
    with torch.no_grad():
        head.weight_orig += 1.0  # type: ignore[operator]
    assert not mask_drift(network, mask).drifted


def test_a_tied_weight_by_its_second_name(tied: nn.Module) -> None:
    mask = Mask({"decode.weight": torch.zeros(5, 5)})
    assert mask_drift(tied, mask).nonzero == 25
    prune(tied, mask)
    assert mask_drift(tied, mask).nonzero == 0


def test_a_mask_of_another_network(network: nn.Module) -> None:
    with pytest.raises(
        CompressionError, match=r"Sequential has no weight 'tail\.weight'; its weights are conv\.weight"
    ):
        mask_drift(network, Mask({"tail.weight": torch.ones(2)}))
    with pytest.raises(CompressionError, match=r"the mask of head\.weight has shape \(2,\), the weight \(4, 12\)"):
        mask_drift(network, Mask({"head.weight": torch.ones(2)}))
