import pytest
import torch
from torch import nn

from references.curvature import dense_gradients
from shrinkscope.curvature import gradient_norm, hessian, last_layer_hessian
from shrinkscope.curvature.last_layer import LastLayerHessian
from shrinkscope.errors import CurvatureError


def test_the_norm_and_its_error_are_those_of_the_gradients_of_the_samples(mlp, classes):
    curvature = hessian(mlp, classes, batch_size=7)
    each = dense_gradients(mlp, nn.functional.cross_entropy, *classes, list(curvature.shapes))
    mean = each.mean(dim=0)
    found = gradient_norm(curvature)
    assert found.norm.value == pytest.approx(float(mean.norm()), rel=1e-10)
    slopes = each @ mean / mean.norm()
    assert found.norm.standard_error == pytest.approx(float(slopes.std() / 30**0.5), rel=1e-10)
    assert (found.norm.unit, found.samples, found.dimension) == ("nats per weight", 30, 43)


def test_the_noise_is_on_average_that_of_the_covariance(conv, images):
    curvature = last_layer_hessian(conv, images)
    each = dense_gradients(conv.eval(), nn.functional.cross_entropy, *images, list(curvature.shapes))
    expected = float(each.var(dim=0).sum()) / 20
    generator = torch.Generator().manual_seed(0)
    squares = torch.tensor([gradient_norm(curvature, resamples=6, generator=generator).noise ** 2 for _ in range(300)])
    # Random partitions are unbiased for the covariance of the samples: four standard errors of 300, fixed generator.
    assert float(squares.mean()) == pytest.approx(expected, abs=4 * float(squares.std()) / 300**0.5)


def test_the_noise_is_what_sampling_makes_of_a_vanishing_gradient():
    # At p = ½ and even classes the population gradient vanishes for features that do not depend on the class.
    generator = torch.Generator().manual_seed(0)
    norms, noises = [], []
    for _ in range(200):
        features = torch.randn(64, 5, generator=generator, dtype=torch.float64)
        targets = torch.randint(2, (64,), generator=generator)
        even = torch.full((64, 2), 0.5, dtype=torch.float64)
        found = gradient_norm(LastLayerHessian("head", features, even, targets, bias=False), generator=generator)
        norms.append(found.norm.value**2)
        noises.append(found.noise**2)
    norms, noises = torch.tensor(norms), torch.tensor(noises)
    error = float((norms - noises).std()) / 200**0.5
    assert float(norms.mean()) == pytest.approx(float(noises.mean()), abs=4 * error)  # fixed generator


def test_without_resamples_there_is_no_noise_and_one_sample_has_no_error(mlp, classes):
    found = gradient_norm(hessian(mlp, (classes[0][:1], classes[1][:1])), resamples=0)
    assert found.noise is None
    assert found.norm.standard_error is None


def test_a_vanishing_gradient_has_norm_zero():
    network = nn.Linear(2, 1, bias=False).to(torch.float64)
    inputs = torch.ones(5, 2, dtype=torch.float64)
    with torch.no_grad():
        targets = network(inputs)
    found = gradient_norm(hessian(network, (inputs, targets), nn.MSELoss()), resamples=5)
    assert (found.norm.value, found.norm.standard_error, found.noise) == (0.0, None, 0.0)


def test_impossible_resamples_are_refused(mlp, classes):
    with pytest.raises(CurvatureError, match="resamples = -1; expected at least 2"):
        gradient_norm(hessian(mlp, classes), resamples=-1)
