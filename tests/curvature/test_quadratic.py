import pytest
import torch
from torch import nn

from references.curvature import dense_gauss_newton, dense_gradients, dense_hessian
from shrinkscope.curvature import gauss_newton, hessian, last_layer_hessian, quadratic_form
from shrinkscope.errors import CurvatureError


@pytest.mark.parametrize(("make", "reference"), [(hessian, dense_hessian), (gauss_newton, dense_gauss_newton)])
def test_the_form_is_that_of_the_dense_matrix(mlp, classes, make, reference):
    curvature = make(mlp, classes, batch_size=8)
    delta = torch.linspace(-1, 1, 43, dtype=torch.float64)
    found = quadratic_form(curvature, delta)
    names = list(curvature.shapes)
    matrix = reference(mlp, nn.functional.cross_entropy, *classes, names)
    slopes = dense_gradients(mlp, nn.functional.cross_entropy, *classes, names) @ delta
    # Sums of a few hundred float64 terms in another order.
    assert found.form.value == pytest.approx(float(delta @ matrix @ delta) / 2, rel=1e-10)
    assert found.slope.value == pytest.approx(float(slopes.mean()), rel=1e-10)
    assert found.slope.standard_error == pytest.approx(float(slopes.std()) / 30**0.5, rel=1e-10)
    assert found.squared_norm == pytest.approx(float(delta @ delta), rel=1e-14)
    assert (found.samples, found.form.unit) == (30, "nats")


def test_its_error_is_over_samples(mlp, classes):
    found = quadratic_form(hessian(mlp, classes), torch.ones(43))
    each = [
        quadratic_form(hessian(mlp, (x[None], y[None])), torch.ones(43)).form.value
        for x, y in zip(*classes, strict=True)
    ]
    spread = torch.tensor(each, dtype=torch.float64)
    assert found.form.standard_error == pytest.approx(float(spread.std()) / 30**0.5, rel=1e-9)


def test_both_terms_are_the_expansion_of_the_loss(conv, images):
    curvature = hessian(conv, images)
    direction = torch.randn(curvature.dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.nn.utils.parameters_to_vector(conv.eval().parameters()).detach()

    def loss_at(step):
        torch.nn.utils.vector_to_parameters(weights + step * direction, conv.parameters())
        with torch.no_grad():
            return float(nn.functional.cross_entropy(conv(images[0]), images[1]))

    step = 1e-4
    found = quadratic_form(curvature, step * direction)
    # Central differences of a smooth network: a relative error of order step², and rounding of 1e-16 against terms of
    # 1e-5 and 1e-9.
    assert found.slope.value == pytest.approx((loss_at(step) - loss_at(-step)) / 2, rel=1e-6)
    assert found.form.value == pytest.approx((loss_at(step) + loss_at(-step) - 2 * loss_at(0)) / 2, rel=1e-4)


def test_the_last_layer_agrees_with_the_network(digits):
    network, data = digits
    delta = {"head.weight": 0.1 * network.head.weight.detach()}
    one, other = quadratic_form(last_layer_hessian(network, data), delta), quadratic_form(hessian(network, data), delta)
    assert one.form.value == pytest.approx(other.form.value, rel=1e-10)
    assert one.form.standard_error == pytest.approx(other.form.standard_error, rel=1e-10)
    assert one.slope.value == pytest.approx(other.slope.value, rel=1e-10)


def test_one_sample_has_no_error(mlp, classes):
    found = quadratic_form(hessian(mlp, (classes[0][:1], classes[1][:1])), torch.ones(43))
    assert found.form.standard_error is None


def test_a_difference_that_does_not_fit_is_refused(mlp, classes):
    with pytest.raises(CurvatureError, match="expected"):
        quadratic_form(hessian(mlp, classes), torch.ones(3))
