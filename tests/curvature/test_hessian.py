import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from references.curvature import dense_gauss_newton, dense_hessian
from shrinkscope.curvature import gauss_newton, hessian
from shrinkscope.errors import CurvatureError, DataError, SelectionError
from shrinkscope.weights import LayerSelection

# Sums of a few hundred float64 terms in another order: a few hundred times 1e-16.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def as_matrix(curvature):
    return torch.stack([curvature.product(unit) for unit in torch.eye(curvature.dimension, dtype=torch.float64)])


@pytest.mark.parametrize(("make", "reference"), [(hessian, dense_hessian), (gauss_newton, dense_gauss_newton)])
def test_the_matrix_of_a_classifier_is_the_dense_one(mlp, classes, make, reference):
    curvature = make(mlp, classes, batch_size=7)
    expected = reference(mlp, nn.functional.cross_entropy, *classes, list(curvature.shapes))
    torch.testing.assert_close(as_matrix(curvature), expected, **CLOSE)
    assert (curvature.samples, curvature.dimension, curvature.unit) == (30, 43, "nats")


@pytest.mark.parametrize(("make", "reference"), [(hessian, dense_hessian), (gauss_newton, dense_gauss_newton)])
def test_the_matrix_of_a_regression_is_the_dense_one(mlp, numbers, make, reference):
    curvature = make(mlp, numbers, nn.MSELoss(), batch_size=8)
    expected = reference(mlp, nn.functional.mse_loss, *numbers, list(curvature.shapes))
    torch.testing.assert_close(as_matrix(curvature), expected, **CLOSE)
    assert curvature.unit == "squared units of the target"


@pytest.mark.parametrize(("make", "reference"), [(hessian, dense_hessian), (gauss_newton, dense_gauss_newton)])
def test_a_convolutional_network_in_training_mode_is_taken_in_evaluation_mode(conv, images, make, reference):
    conv.train()
    curvature = make(conv, images, batch_size=6)
    assert conv.training
    conv.eval()
    expected = reference(conv, nn.functional.cross_entropy, *images, list(curvature.shapes))
    torch.testing.assert_close(as_matrix(curvature), expected, **CLOSE)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (None, ["0.weight", "0.bias", "2.weight", "2.bias"]),
        ("2", ["2.weight", "2.bias"]),
        ("2.weight", ["2.weight"]),
        (["0", "2.bias"], ["0.weight", "0.bias", "2.bias"]),
        (LayerSelection(roles=("linear",)), ["0.weight", "2.weight"]),
        (LayerSelection(exclude=("0",)), ["2.weight", "2.bias"]),
    ],
)
def test_layers_are_selected_by_name_glob_and_role(mlp, classes, layers, names):
    curvature = hessian(mlp, classes, layers=layers)
    assert list(curvature.shapes) == names
    vector = torch.linspace(-1, 1, curvature.dimension, dtype=torch.float64)
    expected = dense_hessian(mlp, nn.functional.cross_entropy, *classes, names) @ vector
    torch.testing.assert_close(curvature.product(vector), expected, **CLOSE)


@pytest.mark.parametrize("make", [hessian, gauss_newton])
def test_each_sample_s_share_along_a_direction_adds_up_to_the_product(conv, images, make):
    curvature = make(conv, images, batch_size=6)
    directions = torch.randn(3, curvature.dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    forms = curvature.along(directions)
    assert forms.shape == (3, 20)
    expected = torch.stack([direction @ curvature.product(direction) for direction in directions])
    torch.testing.assert_close(forms.mean(dim=1), expected, **CLOSE)
    one = make(conv, (images[0][4:5], images[1][4:5]))
    torch.testing.assert_close(forms[:, 4], one.along(directions)[:, 0], **CLOSE)


@settings(max_examples=15)
@given(batch_size=st.integers(1, 40), seed=st.integers(0, 2**20))
def test_neither_the_batch_size_nor_the_order_of_the_samples_matters(batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    network = nn.Linear(3, 2).to(torch.float64)
    inputs = torch.randn(23, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(2, (23,), generator=generator)
    order = torch.randperm(23, generator=generator)
    vector = torch.randn(8, generator=generator, dtype=torch.float64)
    whole = hessian(network, (inputs, targets), batch_size=23).product(vector)
    split = hessian(network, (inputs[order], targets[order]), batch_size=batch_size).product(vector)
    torch.testing.assert_close(split, whole, **CLOSE)


def test_float32_networks_are_taken_in_float32(mlp, classes):
    curvature = hessian(mlp.to(torch.float32), classes)
    assert curvature.precision == torch.float32
    vector = torch.linspace(-1, 1, 43, dtype=torch.float64)
    expected = hessian(mlp.to(torch.float64), classes).product(vector)
    # float32 keeps 1e-7 of each of the few hundred terms.
    torch.testing.assert_close(curvature.product(vector), expected, rtol=1e-4, atol=1e-5)


def test_later_training_does_not_change_the_hessian(mlp, classes):
    curvature = hessian(mlp, classes)
    vector = torch.ones(43, dtype=torch.float64)
    before = curvature.product(vector)
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.mul_(3)
    assert torch.equal(curvature.product(vector), before)


def test_the_network_and_its_gradients_are_left_alone(mlp, classes):
    mlp.train()
    mlp[0].weight.requires_grad_(False)
    nn.functional.cross_entropy(mlp(classes[0]), classes[1]).backward()
    grads = [None if p.grad is None else p.grad.clone() for p in mlp.parameters()]
    hessian(mlp, classes).gradient()
    assert mlp.training
    assert not mlp[0].weight.requires_grad
    for parameter, before in zip(mlp.parameters(), grads, strict=True):
        assert (parameter.grad is None) == (before is None)
        assert before is None or torch.equal(parameter.grad, before)


def test_unknown_layers_name_the_nearest(mlp, conv, classes, images):
    with pytest.raises(SelectionError, match=r"no parameter is selected by 'hed'; the nearest are head"):
        hessian(conv, images, layers="hed")
    with pytest.raises(SelectionError, match=r"selected by 'xyzzy'; there are 0.weight, 0.bias"):
        hessian(mlp, classes, layers="xyzzy")


def test_empty_data_and_data_of_another_shape_are_refused(mlp, classes):
    with pytest.raises(DataError, match="holds no sample"):
        hessian(mlp, (classes[0][:0], classes[1][:0]))
    with pytest.raises(DataError, match="failed on inputs of shape"):
        hessian(mlp, (classes[0][:, :3], classes[1]))


def test_losses_that_are_not_finite_are_counted(mlp, classes):
    inputs = classes[0].clone()
    inputs[3:5] = torch.inf
    with pytest.raises(CurvatureError, match="the loss is not finite for 2 of 30 samples"):
        hessian(mlp, (inputs, classes[1]))


def test_the_memory_of_a_product_is_foreseen(mlp, classes):
    with pytest.raises(
        CurvatureError,
        match=r"a product with the Hessian of 0.weight, 0.bias, 2.weight and 1 more \(43 weights\) needs about "
        r"[\d,]+ bytes \([\d.]+ KiB\) and 1,000 bytes \(1000 B\) are allowed by memory_limit; take smaller batches",
    ):
        hessian(mlp, classes, memory_limit=1000)
