"""Pruning with input moments: masks, compensated weights, and what they do to a layer's outputs."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from shrinkscope.compression import (
    CompensatedPruning,
    InformedPruning,
    MagnitudePruning,
    Mask,
    compensate,
    compress,
    prune,
)
from shrinkscope.curvature import fisher_diagonal, input_moments, kronecker_fisher
from shrinkscope.errors import CompressionError
from shrinkscope.latent import DiagonalPrecision, Precisions


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 3)
    ).double()


@pytest.fixture
def images():
    # Correlated channels, so that weights can stand in for one another.
    base = torch.randn(200, 1, 4, 4, generator=seeded(1), dtype=torch.float64)
    return torch.cat([base, base + 0.3 * torch.randn(200, 1, 4, 4, generator=seeded(2), dtype=torch.float64)], dim=1)


def weights_of(network):
    return {f"{number}.weight": network[number].weight.detach() for number in (0, 2, 4)}


def test_ranks_by_weight_times_norm_of_the_input(network, images):
    diagonal = input_moments(network, images).precisions(diagonal=True)
    mask = InformedPruning(level=0.4, precisions=diagonal, layers="4.weight").mask(weights_of(network))
    seen = network[:4](images)
    importance = network[4].weight.detach().abs() * seen.square().mean(0).sqrt()
    gone = importance.flatten().sort().indices[: round(0.4 * 48)]
    assert mask.removed("4.weight") == 19
    assert sorted((~mask["4.weight"]).flatten().nonzero().flatten().tolist()) == sorted(gone.tolist())


def test_fisher_ranks_layers_together(network, images):
    fisher = fisher_diagonal(network, images, generator=seeded()).precisions()
    method = InformedPruning(level=0.5, precisions=fisher, scope="global")
    mask = method.mask(weights_of(network))
    scores = torch.cat(
        [(w.square() * fisher[n].diagonal().view(w.shape)).flatten() for n, w in weights_of(network).items()]
    )
    removed = torch.cat([~mask[name].flatten() for name in weights_of(network)])
    assert int(removed.sum()) == round(0.5 * len(removed))
    assert float(scores[removed].max()) <= float(scores[~removed].min())
    assert str(method) == "lowest fisher importance 50 % (global)"


def test_compensated_outputs_are_those_of_least_squares(network, images):
    """With Σ⁻¹ = E[xxᵀ] undamped, the kept weights are the regression of the dense output on the kept inputs."""
    moments = input_moments(network, images).precisions()
    mask = MagnitudePruning(level=0.5, layers="4.weight").mask(weights_of(network))
    found = compensate(weights_of(network), mask, moments, damping=0.0)
    seen, weight = network[:4](images).detach().numpy(), network[4].weight.detach().numpy()
    for row, kept in enumerate(mask["4.weight"].numpy()):
        expected = np.linalg.lstsq(seen[:, kept], seen @ weight[row], rcond=None)[0]
        np.testing.assert_allclose(found["4.weight"][row, kept].numpy(), expected, rtol=1e-7, atol=1e-9)
        assert bool((found["4.weight"][row, ~kept] == 0).all())
    assert found["0.weight"] is not None
    assert found["2.weight"].data_ptr() == network[2].weight.data_ptr()


@pytest.mark.parametrize("rounds", [1, 3])
def test_compensation_lowers_the_error_of_each_layers_output(network, images, rounds):
    moments = input_moments(network, images).precisions()
    weights = weights_of(network)
    method = CompensatedPruning(level=0.6, precisions=moments, rounds=rounds, damping=1e-6)
    mask, found = method.mask(weights), method.compress(weights)
    plain = InformedPruning(level=0.6, precisions=moments).compress(weights)
    for name, weight in weights.items():
        assert mask.removed(name) == round(0.6 * weight.numel())
        assert torch.equal(found[name] != 0, mask[name])
        errors = [moments[name].quadratic((weight - new[name]).flatten()) for new in (found, plain)]
        assert errors[0] < 0.9 * errors[1], name


def test_more_rounds_lose_no_more_on_correlated_inputs(network, images):
    moments = input_moments(network, images).precisions()
    weight = weights_of(network)["4.weight"]
    lost = []
    for rounds in (1, 8):
        method = CompensatedPruning(level=0.7, precisions=moments, rounds=rounds, damping=1e-6, layers="4.weight")
        new = method.compress(weights_of(network))["4.weight"]
        lost.append(moments["4.weight"].quadratic((weight - new).flatten()))
    assert lost[1] < lost[0]


@pytest.mark.parametrize("write", [prune, compress])
def test_written_into_a_network(network, images, write):
    before = copy.deepcopy(network)
    method = CompensatedPruning(level=0.5, precisions=input_moments(network, images).precisions())
    mask = write(network, method)
    new = method.compress(weights_of(before))
    assert isinstance(mask, Mask)
    for name, weight in weights_of(network).items():
        assert torch.equal(weight, new[name])
        assert torch.equal(weight != 0, mask[name])
    assert torch.equal(network[0].bias, before[0].bias)


def test_transposed_convolutions_are_solved_in_their_own_order():
    torch.manual_seed(0)
    network = nn.Sequential(nn.ConvTranspose2d(3, 4, 2, groups=1)).double()
    inputs = torch.randn(50, 3, 3, 3, generator=seeded(3), dtype=torch.float64)
    moments = input_moments(network, inputs).precisions()
    weights = {"0.weight": network[0].weight.detach()}
    mask = MagnitudePruning(level=0.4).mask(weights)
    found = compensate(weights, mask, moments, damping=0.0)["0.weight"]
    lost = [
        moments["0.weight"].quadratic((weights["0.weight"] - w).flatten())
        for w in (found, mask.applied_to(weights)["0.weight"])
    ]
    assert lost[0] < lost[1]
    # No small step within the mask improves on the optimum.
    for seed in range(20):
        step = 1e-4 * torch.randn(found.shape, generator=seeded(seed), dtype=torch.float64) * mask["0.weight"]
        assert moments["0.weight"].quadratic((weights["0.weight"] - found - step).flatten()) > lost[0]


def test_types_are_kept(network, images):
    moments = input_moments(network, images).precisions()
    weights = {name: weight.to(torch.bfloat16) for name, weight in weights_of(network).items()}
    new = CompensatedPruning(level=0.5, precisions=moments).compress(weights)
    assert {weight.dtype for weight in new.values()} == {torch.bfloat16}


def test_what_is_refused(network, images):
    moments, weights = input_moments(network, images).precisions(), weights_of(network)
    with pytest.raises(CompressionError, match=r"level is 1\.5; expected a fraction"):
        CompensatedPruning(level=1.5, precisions=moments)
    with pytest.raises(CompressionError, match=r"rounds is 0; expected a whole number of at least 1"):
        CompensatedPruning(level=0.5, precisions=moments, rounds=0)
    with pytest.raises(CompressionError, match=r"damping is -1; expected a finite number, at least 0"):
        CompensatedPruning(level=0.5, precisions=moments, damping=-1)
    with pytest.raises(CompressionError, match=r"damping is nan; expected a finite number"):
        compensate(weights, Mask({}), moments, damping=float("nan"))
    with pytest.raises(CompressionError, match=r"scope is 'row'; expected one of layer, global, last"):
        InformedPruning(level=0.5, precisions=moments, scope="row")  # type: ignore[arg-type]
    coupled = kronecker_fisher(network, images, generator=seeded()).precisions()
    with pytest.raises(CompressionError, match=r"0\.weight: Σ⁻¹ couples the rows of a weight \(K-FAC\)"):
        CompensatedPruning(level=0.5, precisions=coupled).compress(weights)
    none = Precisions("input", {}, {"0.weight": "it was not used"}, "no inputs")
    with pytest.raises(CompressionError, match=r"0\.weight cannot be ranked: it was not used; or leave it out"):
        InformedPruning(level=0.5, precisions=none).mask(weights)
    other = Precisions("input", {"0.weight": DiagonalPrecision(torch.ones(3))}, {}, "others")
    with pytest.raises(CompressionError, match=r"Σ⁻¹ of 0\.weight is for 3 weights and the layer has 72"):
        InformedPruning(level=0.5, precisions=other, layers="0.weight").mask(weights)
    broken = {**weights, "0.weight": torch.full_like(weights["0.weight"], float("nan"))}
    with pytest.raises(CompressionError, match=r"0\.weight has 72 NaN or infinite values"):
        CompensatedPruning(level=0.5, precisions=moments).compress(broken)
