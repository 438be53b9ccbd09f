"""The sampled Student-t latent against the exact one, its common random numbers, and what it refuses."""

import math

import msgspec
import pytest
import torch
from torch import Tensor

from shrinkscope.errors import LatentError
from shrinkscope.latent import NAMED, FixedScale, FullDimension, GroupMeans, SampledStudentT, StudentT, WeightScale
from shrinkscope.quantity import Quantity
from shrinkscope.weights import LayerSelection, PairSummary, open_weights, pair, summarise


def summary_of(dense: Tensor, compressed: Tensor, groups: int | None) -> PairSummary:
    pairing = pair(open_weights({"w": dense}), open_weights({"w": compressed}), LayerSelection())
    return summarise(pairing.pairs[0], () if groups is None else (groups,))


def weights(seed: int = 1, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(30, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pruned(dense: Tensor, below: float) -> Tensor:
    return torch.where(dense.abs() > below, dense, 0.0)


def error_of(quantity: Quantity) -> float:
    assert quantity.standard_error is not None
    return quantity.standard_error


@pytest.mark.parametrize("projection", [GroupMeans(groups=20), FullDimension()])
@pytest.mark.parametrize("scale", [FixedScale(sigma=0.3), WeightScale()])
def test_it_estimates_the_exact_latent(projection, scale):
    # Five standard errors: fails by chance with probability 6e-7 over the choice of the seed.
    dense = weights()
    sampled = SampledStudentT(samples=5_000, repeats=2, projection=projection, scale=scale)
    exact = StudentT(projection=projection, scale=scale)
    summary = summary_of(dense, pruned(dense, 0.6), sampled.groups)
    estimate = sampled.divergence(summary)
    assert (estimate.unit, estimate.status) == ("nats", "estimate")
    assert abs(estimate.value - exact.divergence(summary).value) < 5 * error_of(estimate)
    assert not estimate.unresolved


def test_its_name_has_the_papers_settings_but_for_the_repeats():
    latent = NAMED["student_t_sampled"]
    assert latent == SampledStudentT(df=4.0, samples=600_000, repeats=1, seed=0)
    assert latent.column == "ap3_student_t_sampled"
    assert latent.groups == 100


def test_layers_share_their_draws():
    # Two methods that differ by little: with common draws the noise of the difference is far below that of each.
    dense = weights()
    latent = SampledStudentT(samples=2_000, projection=GroupMeans(groups=20))
    exact = StudentT(scale=FixedScale(), projection=GroupMeans(groups=20))
    one, other = (summary_of(dense, pruned(dense, below), 20) for below in (0.60, 0.61))
    difference = latent.divergence(one).value - latent.divergence(other).value
    truth = exact.divergence(one).value - exact.divergence(other).value
    assert abs(difference - truth) < 0.5 * error_of(latent.divergence(one))
    assert latent.divergence(one) == latent.divergence(one)
    assert latent.divergence(one) != msgspec.structs.replace(latent, seed=1).divergence(one)


def test_a_radius_and_an_angle_give_the_exact_latent_too():
    # Five standard errors: fails by chance with probability 6e-7 over the choice of the seed.
    dense = weights()
    summary = summary_of(dense, pruned(dense, 0.6), 20)
    exact = StudentT(scale=FixedScale(), projection=GroupMeans(groups=20)).divergence(summary).value
    found = [
        SampledStudentT(samples=20_000, draws=draws, projection=GroupMeans(groups=20)).divergence(summary)
        for draws in ("distance", "coordinates")
    ]
    assert all(abs(quantity.value - exact) < 5 * error_of(quantity) for quantity in found)
    # Both standard errors estimate one deviation from 20,000 draws; their ratio is 1 up to a few percent.
    assert error_of(found[0]) == pytest.approx(error_of(found[1]), rel=0.1)


@pytest.mark.parametrize("draws", ["distance", "coordinates"])
def test_draws_of_ones_own_leave_the_noise_in_differences(draws):
    # 200 pairs of changes that differ by 1e-9: with common draws the difference is nothing, with draws of its own it
    # has the variance 2·SE². The mean of 200 squares over it is 1 ± 0.1; outside 0.5 to 1.5 with probability 6e-7.
    dense = weights()
    own = SampledStudentT(samples=500, draws=draws, common=False, projection=GroupMeans(groups=20))
    shared = msgspec.structs.replace(own, common=True)
    squares = []
    for seed in range(200):
        change = pruned(dense, 0.6) + 1e-6 * weights(seed + 2)
        one, other = (summary_of(dense, change + shift, 20) for shift in (0.0, 1e-9))
        found = own.divergence(one), own.divergence(other)
        squares.append((found[0].value - found[1].value) ** 2 / (2 * error_of(found[0]) ** 2))
        if seed == 0:
            assert abs(shared.divergence(one).value - shared.divergence(other).value) < 1e-3 * error_of(found[0])
            assert own.divergence(one) == found[0]
            assert msgspec.structs.replace(own, seed=1).divergence(one) != found[0]
    assert 0.5 < sum(squares) / len(squares) < 1.5


def test_a_small_change_is_noise():
    # δ = 0.005 is 0.35 standard errors of 20,000 samples from zero: unresolved with probability 0.996; fixed seed.
    dense = weights()
    latent = SampledStudentT(samples=20_000, projection=GroupMeans(groups=20))
    change = torch.full_like(dense, 0.005 / math.sqrt(20))
    assert latent.divergence(summary_of(dense, dense - change, 20)).unresolved


def test_no_change_is_exactly_zero():
    dense = weights()
    # So many samples would take hours if they were drawn.
    same = SampledStudentT(samples=10**12).divergence(summary_of(dense, dense.clone(), 100))
    assert (same.value, same.standard_error, same.unit, same.unresolved) == (0.0, 0.0, "nats", False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"df": 0.0}, "df = 0.0; expected a positive number"),
        ({"df": math.inf}, "df = inf"),
        ({"samples": 1}, "samples = 1; expected at least 2"),
        ({"repeats": 0}, "repeats = 0; expected at least 1"),
        ({"seed": -1}, "seed = -1; expected a non-negative integer"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(LatentError, match=message):
        SampledStudentT(**settings)


def test_an_all_zero_layer_has_no_weight_scale():
    latent = SampledStudentT(scale=WeightScale(), projection=GroupMeans(groups=2))
    with pytest.raises(LatentError, match="all dense weights are zero"):
        latent.divergence(summary_of(torch.zeros(4), torch.ones(4), 2))


def test_it_is_written_and_read_by_its_kind():
    latent = SampledStudentT(samples=1000, seed=3)
    assert msgspec.json.decode(msgspec.json.encode(latent), type=SampledStudentT) == latent
    assert b'"kind":"sampled_student_t"' in msgspec.json.encode(latent)
