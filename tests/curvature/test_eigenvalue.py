import pytest
import torch
from torch import nn

from references.curvature import dense_gauss_newton, dense_hessian
from shrinkscope.curvature import (
    gauss_newton,
    hessian,
    largest_eigenvalue,
    last_layer_hessian,
    smallest_eigenvalue,
    spectral_norm,
)
from shrinkscope.curvature.last_layer import LastLayerHessian
from shrinkscope.errors import CurvatureError

CROSS_ENTROPY = nn.functional.cross_entropy


@pytest.mark.parametrize(("make", "reference"), [(hessian, dense_hessian), (gauss_newton, dense_gauss_newton)])
def test_eigenvalues_are_those_of_the_dense_matrix(mlp, classes, make, reference):
    curvature = make(mlp, classes)
    values = torch.linalg.eigvalsh(reference(mlp, CROSS_ENTROPY, *classes, list(curvature.shapes)))
    expected = {largest_eigenvalue: values[-1], smallest_eigenvalue: values[0], spectral_norm: values.abs().max()}
    for function, value in expected.items():
        # The lower end is a cluster of hardly any curvature, which a small basis resolves slowly.
        found = function(curvature, tolerance=1e-9, basis=40, resamples=0)
        # Ten tolerances of the spectral norm, twice that after a shift.
        assert found.eigenvalue.value == pytest.approx(float(value), abs=2e-8 * float(values.abs().max()))
        assert found.residual <= 2e-8 * float(values.abs().max())
        assert (found.samples, found.dimension, found.eigenvalue.unit) == (30, 43, "nats per weight²")


def test_the_spectral_norm_counts_negative_curvature():
    # ℓ = (w² − 1)² at w = 0: second derivative −4.
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(40, dtype=torch.float64))

        def forward(self, inputs):
            return (inputs * self.w.square()).sum(dim=1, keepdim=True)

    inputs = torch.eye(40, dtype=torch.float64)
    curvature = hessian(Square(), (inputs, torch.ones(40, 1, dtype=torch.float64)), nn.MSELoss())
    norm = spectral_norm(curvature, resamples=0)
    assert norm.eigenvalue.value == pytest.approx(4 / 40, rel=1e-6)
    assert smallest_eigenvalue(curvature, resamples=0).eigenvalue.value == pytest.approx(-4 / 40, rel=1e-6)
    assert norm.eigenvalue.standard_error is None
    assert norm.resampled == ()
    assert norm.sampling_bias is None


def test_resamples_are_the_eigenvalues_of_disjoint_parts(mlp, classes):
    curvature = hessian(mlp, classes)
    found = largest_eigenvalue(curvature, resamples=3, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    torch.randn(curvature.dimension, generator=generator, dtype=torch.float64)  # the start of the search
    expected = []
    for part in torch.randperm(30, generator=generator).reshape(10, 3).T:
        matrix = dense_hessian(mlp, CROSS_ENTROPY, classes[0][part], classes[1][part], list(curvature.shapes))
        expected.append(float(torch.linalg.eigvalsh(matrix)[-1]))
    assert found.resampled == pytest.approx(expected, rel=1e-6)
    spread = torch.tensor(expected, dtype=torch.float64)
    assert found.eigenvalue.standard_error == pytest.approx(float(spread.std() / 3**0.5), rel=1e-4)
    assert found.sampling_bias == pytest.approx((float(spread.mean()) - found.eigenvalue.value) / 2, rel=1e-4)
    # λ_max is convex, and the whole is the mean of the parts.
    assert found.eigenvalue.value <= sum(found.resampled) / 3


def test_the_standard_error_is_the_spread_over_draws_of_the_data(digits):
    network, (inputs, targets) = digits
    generator = torch.Generator().manual_seed(0)
    curvature = last_layer_hessian(network, (inputs, targets))
    values, errors, biases = [], [], []
    for _ in range(60):
        rows = torch.randint(len(inputs), (240,), generator=generator)
        drawn = LastLayerHessian(
            "head", curvature.features[rows], curvature.probabilities[rows], curvature.targets[rows], bias=True
        )
        found = largest_eigenvalue(drawn, generator=generator)
        values.append(found.eigenvalue.value)
        errors.append(found.eigenvalue.standard_error)
        biases.append(found.sampling_bias)
    spread = float(torch.tensor(values).std())
    mean_square = float(torch.tensor(errors).square().mean()) ** 0.5
    # The deviation of 60 values has a relative error of 1/√118 = 9 %, that of 60 × 7 degrees of freedom 3 %; and parts
    # of 30 samples are not quite in the limit where deviations go as 1/√n. Fixed generator: no chance of failure.
    assert mean_square == pytest.approx(spread, rel=0.4)
    truth = largest_eigenvalue(curvature, resamples=0).eigenvalue.value
    excess = sum(values) / 60 - truth
    error_of_mean = spread / 60**0.5
    assert sum(biases) / 60 == pytest.approx(excess, abs=4 * error_of_mean)


def test_the_same_call_gives_the_same_answer(mlp, classes):
    curvature = hessian(mlp, classes)
    assert largest_eigenvalue(curvature, resamples=2) == largest_eigenvalue(curvature, resamples=2)


def test_small_matrices_are_exact(mlp, classes):
    found = largest_eigenvalue(hessian(mlp, classes, layers="2.bias"), resamples=0)
    assert found.eigenvalue.status == "exact"
    assert largest_eigenvalue(hessian(mlp, classes), resamples=0).eigenvalue.status == "estimate"


def test_float32_is_good_to_its_tolerance(mlp, classes):
    exact = largest_eigenvalue(hessian(mlp, classes), resamples=0).eigenvalue.value
    rough = largest_eigenvalue(hessian(mlp.to(torch.float32), classes), resamples=0)
    assert rough.eigenvalue.value == pytest.approx(exact, rel=1e-3)
    assert rough.residual <= 1e-3 * exact


def test_progress_counts_products(mlp, classes):
    seen = []
    found = largest_eigenvalue(hessian(mlp, classes), resamples=2, progress=seen.append)
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) > found.products


def test_impossible_resamples_are_refused(mlp, classes):
    with pytest.raises(CurvatureError, match="resamples = 1; expected at least 2, or 0 for no standard error"):
        largest_eigenvalue(hessian(mlp, classes), resamples=1)
    with pytest.raises(CurvatureError, match="30 samples cannot make 31 resamples"):
        largest_eigenvalue(hessian(mlp, classes), resamples=31)


def test_the_memory_of_the_basis_is_foreseen(mlp, classes):
    curvature = hessian(mlp, classes, batch_size=2, memory_limit=8000)
    with pytest.raises(
        CurvatureError,
        match=r"a Lanczos basis of 20 vectors for the Hessian of .* \(43 weights\) and its products needs about "
        r"[\d,]+ bytes .* and 8,000 bytes .* are allowed by memory_limit; take fewer samples or smaller batches, one "
        r"layer instead of the network, or a smaller basis",
    ):
        largest_eigenvalue(curvature)
    assert largest_eigenvalue(curvature, basis=3, resamples=0).eigenvalue.value > 0
