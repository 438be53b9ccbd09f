"""Every latent against the definition on small layers; the paper's settings by name; what is undefined."""

import math

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from references.student_t import by_double_integral
from shrinkscope.errors import LatentError
from shrinkscope.latent import (
    NAMED,
    FixedScale,
    Gaussian,
    GroupMeans,
    RotatedGaussian,
    StudentT,
    Uniform,
    WeightScale,
    resolve_latents,
)
from shrinkscope.quantity import Quantity
from shrinkscope.weights import LayerSelection, PairSummary, open_weights, pair, summarise


def summary_of(dense: Tensor, compressed: Tensor, groups: tuple[int, ...] = ()) -> PairSummary:
    pairing = pair(open_weights({"w": dense}), open_weights({"w": compressed}), LayerSelection())
    return summarise(pairing.pairs[0], groups)


@pytest.fixture
def layer() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    return dense, torch.where(dense.abs() > 0.5, dense, 0.0)


def density_kl(p: torch.distributions.Distribution, q: torch.distributions.Distribution) -> float:
    return float(torch.distributions.kl_divergence(p, q))


@pytest.mark.parametrize("scale", [FixedScale(sigma=0.3), WeightScale(), WeightScale(factor=0.1)])
def test_gaussian_agrees_with_torch_on_a_dense_covariance(layer, scale):
    dense, compressed = layer
    variance = 0.09 if isinstance(scale, FixedScale) else (scale.factor**2) * float(dense.square().mean())
    covariance = variance * torch.eye(240, dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal
    truth = density_kl(normal(dense.flatten(), covariance), normal(compressed.flatten(), covariance))
    value = Gaussian(scale=scale).divergence(summary_of(dense, compressed))
    # A Cholesky factorisation and sums of 240 terms in float64.
    assert value.value == pytest.approx(truth, rel=1e-11)
    assert (value.unit, value.status) == ("nats", "exact")


def test_with_a_fixed_scale_the_gaussian_ranks_exactly_as_ap2(layer):
    dense, _ = layer
    pruned = [torch.where(dense.abs() > level, dense, 0.0) for level in (0.1, 0.4, 0.9, 1.5)]
    summaries = [summary_of(dense, compressed) for compressed in pruned]
    ap2 = [summary.moments.square_delta for summary in summaries]
    ap3 = [NAMED["gaussian_fixed"].divergence(summary).value for summary in summaries]
    for a, b in zip(ap2, ap3, strict=True):
        assert b == pytest.approx(a / 2, rel=1e-15)


def test_the_weight_scale_makes_it_independent_of_the_units(layer):
    dense, compressed = layer
    for latent in (NAMED["gaussian"], NAMED["student_t"], NAMED["gaussian_rotated"]):
        one = latent.divergence(summary_of(dense, compressed)).value
        other = latent.divergence(summary_of(1024.0 * dense, 1024.0 * compressed)).value
        assert other == pytest.approx(one, rel=1e-12)  # scaling by a power of two rounds nothing but σ


def test_student_t_agrees_with_the_double_integral_of_its_definition(layer):
    dense, compressed = layer
    delta = math.sqrt(float((dense - compressed).square().sum() / dense.square().mean()))
    value = StudentT(df=4.0).divergence(summary_of(dense, compressed)).value
    # The function promises 1e-10; δ adds the rounding of a sum of 240 squares.
    assert value == pytest.approx(float(by_double_integral(240, 4, delta)), rel=1e-9)


def test_the_papers_grouped_student_t(layer):
    dense, compressed = layer
    latent = NAMED["student_t_grouped"]
    assert latent.groups == 100
    # 240 weights make chunks of ⌊240/100⌋ = 2, hence 120 means.
    means = (dense - compressed).reshape(120, 2).mean(1)
    truth = by_double_integral(120, 4, float(means.norm()))
    value = latent.divergence(summary_of(dense, compressed, groups=(100,))).value
    assert value == pytest.approx(float(truth), rel=1e-9)


def test_rotated_agrees_with_the_papers_dense_matrix(layer):
    dense, compressed = (side[:12] for side in layer)
    latent = RotatedGaussian(scale=FixedScale(sigma=0.2), seed=7)
    normals = torch.randn(96, 96, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    vectors = torch.linalg.eigh(normals + normals.T).eigenvectors
    spectrum = torch.diag(torch.arange(1, 97, dtype=torch.float64).pow(-1.0))
    covariance = 0.04 * vectors @ spectrum @ vectors.T
    delta = (dense - compressed).flatten()
    truth = 0.5 * float(delta @ torch.linalg.solve(covariance, delta))
    # The dense matrix has condition number 96, so that its solution keeps about 13 digits.
    assert latent.divergence(summary_of(dense, compressed)).value == pytest.approx(truth, rel=1e-9)


def test_rotated_in_many_dimensions_agrees_with_the_matrix_of_its_operator(layer):
    from shrinkscope.divergence.covariance import PowerLaw, Rotated, random_orthogonal

    dense, compressed = layer
    operator = random_orthogonal(240, torch.Generator().manual_seed(7))
    matrix = Rotated(operator, PowerLaw(), 0.04).dense()
    delta = (dense - compressed).flatten()
    truth = 0.5 * float(delta @ torch.linalg.solve(matrix, delta))
    latent = RotatedGaussian(scale=FixedScale(sigma=0.2), seed=7)
    assert latent.divergence(summary_of(dense, compressed)).value == pytest.approx(truth, rel=1e-9)


def test_rotation_with_equal_eigenvalues_changes_nothing(layer):
    from shrinkscope.divergence.covariance import Equal

    summary = summary_of(*layer)
    rotated = RotatedGaussian(spectrum=Equal(), scale=WeightScale()).divergence(summary).value
    assert rotated == pytest.approx(Gaussian().divergence(summary).value, rel=1e-12)


def test_grouped_rotated_uses_the_means(layer):
    dense, compressed = layer
    latent = RotatedGaussian(projection=GroupMeans(groups=24))
    means = (dense - compressed).reshape(24, 10).mean(1)
    by_hand = RotatedGaussian(scale=FixedScale(sigma=float(dense.square().mean().sqrt())))
    expected = by_hand.divergence(summary_of(means, torch.zeros(24))).value
    assert latent.divergence(summary_of(dense, compressed, groups=(24,))).value == pytest.approx(expected, rel=1e-12)


def test_uniform_boxes_give_ap2(layer):
    summary = summary_of(*layer)
    value = Uniform().divergence(summary)
    assert (value.value, value.unit) == (summary.moments.square_delta, "weight²")


@given(st.floats(0.0, 1.0))
def test_divergences_are_zero_without_change_and_grow_with_it(step):
    dense = torch.linspace(-1, 1, 50, dtype=torch.float64)
    for name in ("gaussian", "student_t", "gaussian_rotated", "uniform"):
        nothing, near, far = (
            NAMED[name].divergence(summary_of(dense, dense * (1 - part))).value for part in (0.0, step / 2, step)
        )
        assert nothing == 0.0
        assert 0.0 <= near <= far


@pytest.mark.parametrize("latent", [Gaussian(scale=WeightScale(factor=0.3)), RotatedGaussian(), StudentT()])
def test_at_the_scale_of_a_layer_other_weights_are_measured_in_its_unit(layer, latent):
    dense, compressed = layer
    here = latent.at_scale_of(summary_of(dense, compressed).moments)
    # Fixing the scale changes nothing for this layer up to the rounding of a root and its square …
    pair_of_layer = summary_of(dense, compressed)
    assert here.divergence(pair_of_layer).value == pytest.approx(latent.divergence(pair_of_layer).value, rel=1e-14)
    # … and from twice these weights the same Δ is as far, where a scale of its own would make it less.
    shifted = summary_of(2 * dense, dense + compressed)
    assert here.divergence(shifted).value == pytest.approx(latent.divergence(pair_of_layer).value, rel=1e-12)
    assert latent.divergence(shifted).value < 0.5 * here.divergence(shifted).value


def test_at_the_scale_of_zeros_there_is_no_scale():
    moments = summary_of(torch.zeros(3), torch.ones(3)).moments
    with pytest.raises(LatentError, match="no weight scale"):
        Gaussian().at_scale_of(moments)
    assert Gaussian(scale=FixedScale(sigma=0.5)).at_scale_of(moments) == Gaussian(scale=FixedScale(sigma=0.5))


@pytest.mark.parametrize("name", ["gaussian", "student_t", "gaussian_rotated"])
def test_an_all_zero_layer_has_no_weight_scale(name):
    with pytest.raises(LatentError, match="all dense weights are zero"):
        NAMED[name].divergence(summary_of(torch.zeros(4), torch.ones(4)))


@pytest.mark.parametrize("name", sorted(NAMED))
def test_an_empty_layer_has_no_divergence(name):
    latent = NAMED[name]
    groups = () if latent.groups is None else (latent.groups,)
    with pytest.raises(LatentError, match="no elements"):
        latent.divergence(summary_of(torch.empty(0), torch.empty(0), groups))


def test_names_objects_and_the_users_own_resolve():
    class Mine:
        column = "ap3_mine"
        groups = None

        def divergence(self, summary: PairSummary) -> Quantity:
            return Quantity(value=summary.moments.largest_delta, unit="weight")

    latents = resolve_latents(["gaussian", StudentT(name="t9", df=9), Mine()])
    assert [latent.column for latent in latents] == ["ap3_gaussian", "ap3_t9", "ap3_mine"]


def test_what_cannot_be_resolved_says_why():
    with pytest.raises(LatentError, match=r"unknown latent 'gausian'; known: gaussian, "):
        resolve_latents(["gausian"])
    with pytest.raises(LatentError, match="two latents write the column ap3_gaussian"):
        resolve_latents(["gaussian", Gaussian(scale=FixedScale())])
    with pytest.raises(LatentError, match="a float is no latent"):
        resolve_latents([1.0])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedScale(sigma=0.0), "sigma = 0.0; expected a positive number"),
        (lambda: FixedScale(sigma=math.nan), "sigma = nan"),
        (lambda: WeightScale(factor=-1.0), "factor = -1.0"),
        (lambda: StudentT(df=0.0), "df = 0.0"),
        (lambda: GroupMeans(groups=0), "groups = 0"),
        (lambda: RotatedGaussian(seed=-1), "seed = -1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(LatentError, match=message):
        make()


def test_a_latent_is_its_configuration():
    latent = StudentT(df=7.0, scale=FixedScale(sigma=2.0), projection=GroupMeans(groups=10))
    again = msgspec.json.decode(msgspec.json.encode(latent), type=StudentT)
    assert again == latent
    assert hash(again) == hash(latent)
    with pytest.raises(msgspec.ValidationError, match="unknown field `dof`"):
        msgspec.json.decode(b'{"kind": "student_t", "dof": 3}', type=StudentT)
