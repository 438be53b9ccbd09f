import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from references.curvature import dense_gradients, dense_hessian, softmax_hessian
from shrinkscope.curvature import hessian, last_layer_hessian
from shrinkscope.curvature.last_layer import LastLayerHessian
from shrinkscope.errors import CurvatureError, DataError

# Sums of a few hundred float64 terms in another order: a few hundred times 1e-16.
CLOSE = {"rtol": 1e-10, "atol": 1e-13}


def as_matrix(curvature):
    return torch.stack([curvature.product(unit) for unit in torch.eye(curvature.dimension, dtype=torch.float64)])


def drawn(seed, samples, width, classes, scale):
    generator = torch.Generator().manual_seed(seed)
    features = scale * torch.randn(samples, width, generator=generator, dtype=torch.float64)
    logits = 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return features, logits, torch.randint(classes, (samples,), generator=generator)


sizes = {
    "seed": st.integers(0, 2**20),
    "samples": st.integers(1, 12),
    "width": st.integers(1, 6),
    "classes": st.integers(2, 5),
    "scale": st.floats(1e-3, 1e3),
}


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_dense_hessian_and_what_curvlinops_computes(conv, images, bias):
    shortcut = last_layer_hessian(conv, images, bias=bias, batch_size=7)
    names = ["head.weight", "head.bias"] if bias else ["head.weight"]
    assert list(shortcut.shapes) == names
    matrix = as_matrix(shortcut)
    torch.testing.assert_close(matrix, as_matrix(hessian(conv, images, layers=names)), **CLOSE)
    conv.eval()
    torch.testing.assert_close(matrix, dense_hessian(conv, nn.functional.cross_entropy, *images, names), **CLOSE)


def test_everything_else_agrees_with_the_generic_route(digits):
    network, data = digits
    shortcut, generic = last_layer_hessian(network, data, layer="head"), hessian(network, data, layers="head")
    assert shortcut.shapes == generic.shapes
    direction = torch.randn(shortcut.dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for one, other in [
        (shortcut.product(direction), generic.product(direction)),
        (shortcut.along(direction[None]), generic.along(direction[None])),
        (shortcut.slopes(direction), generic.slopes(direction)),
        (shortcut.gradient(), generic.gradient()),
    ]:
        torch.testing.assert_close(one, other, **CLOSE)


def test_the_gradient_is_the_mean_of_those_of_the_samples(conv, images):
    shortcut = last_layer_hessian(conv, images)
    each = dense_gradients(conv.eval(), nn.functional.cross_entropy, *images, ["head.weight", "head.bias"])
    torch.testing.assert_close(shortcut.gradient(), each.mean(dim=0), **CLOSE)


@settings(max_examples=50)
@given(**sizes)
def test_products_and_traces_are_those_of_the_kronecker_products(seed, samples, width, classes, scale):
    features, logits, targets = drawn(seed, samples, width, classes, scale)
    shortcut = LastLayerHessian("head", features, torch.softmax(logits, dim=1), targets, bias=False)
    expected = softmax_hessian(logits, features)
    # Relative to the largest entry, which is at most the square of the features.
    close = {"rtol": 1e-10, "atol": 1e-13 * scale**2 * width}
    torch.testing.assert_close(as_matrix(shortcut), expected, **close)
    torch.testing.assert_close(shortcut.traces().mean(), expected.trace(), rtol=1e-12, atol=0)


@settings(max_examples=100)
@given(**sizes)
def test_the_global_bound_is_never_below_the_largest_eigenvalue(seed, samples, width, classes, scale):
    features, logits, targets = drawn(seed, samples, width, classes, scale)
    shortcut = LastLayerHessian("head", features, torch.softmax(logits, dim=1), targets, bias=False)
    bound = shortcut.global_bound()
    assert bound.status == "bound"
    # No tolerance: the bound is certified, rounding included.
    assert bound.value >= float(torch.linalg.eigvalsh(softmax_hessian(logits, features))[-1])


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**20))
def test_the_global_bound_is_attained_where_two_classes_share_all_probability(scale, seed):
    features, _, targets = drawn(seed, 6, 3, 2, scale)
    even = LastLayerHessian("head", features, torch.full((6, 2), 0.5, dtype=torch.float64), targets, bias=False)
    largest = float(torch.linalg.eigvalsh(softmax_hessian(torch.zeros(6, 2, dtype=torch.float64), features))[-1])
    # Six samples and three features: rounding moves either by some tens of 1e-16.
    assert even.global_bound().value == pytest.approx(largest, rel=1e-12)


def test_the_global_bound_holds_at_other_weights_of_the_layer(conv, images):
    bound = last_layer_hessian(conv, images).global_bound().value
    generator = torch.Generator().manual_seed(0)
    found = []
    for scale in (0.0, 0.01, 0.1, 1.0, 10.0):
        with torch.no_grad():
            conv.head.weight.copy_(scale * torch.randn(3, 8, generator=generator, dtype=torch.float64))
            conv.head.bias.copy_(scale * torch.randn(3, generator=generator, dtype=torch.float64))
        found.append(float(torch.linalg.eigvalsh(as_matrix(last_layer_hessian(conv, images)))[-1]))
    assert max(found) <= bound
    assert max(found) > bound / 3  # three equal classes have a third of the identity: the bound is not idle


def test_parts_are_disjoint_and_together_the_whole(conv, images):
    shortcut = last_layer_hessian(conv, images)
    parts = shortcut.parts(3, torch.Generator().manual_seed(0))
    assert sorted(part.samples for part in parts) == [6, 7, 7]
    together = sum(as_matrix(part) * part.samples for part in parts) / 20
    torch.testing.assert_close(together, as_matrix(shortcut), **CLOSE)


def test_a_float32_network_has_a_float64_shortcut(conv, images):
    shortcut = last_layer_hessian(conv.to(torch.float32), images)
    expected = last_layer_hessian(conv.to(torch.float64), images)
    assert shortcut.precision == torch.float64
    torch.testing.assert_close(as_matrix(shortcut), as_matrix(expected), rtol=1e-4, atol=1e-6)  # features in float32


def test_too_few_samples_for_parts_are_refused(conv, images):
    with pytest.raises(CurvatureError, match="20 samples cannot make 21 resamples"):
        last_layer_hessian(conv, images).parts(21, torch.Generator())


def test_empty_data_are_refused(conv, images):
    with pytest.raises(DataError, match="holds no sample"):
        last_layer_hessian(conv, (images[0][:0], images[1][:0]))


def test_the_memory_of_the_bound_is_foreseen(conv, images):
    shortcut = last_layer_hessian(conv, images)
    small = LastLayerHessian(
        "head", shortcut.features, shortcut.probabilities, shortcut.targets, bias=True, memory_limit=100
    )
    with pytest.raises(CurvatureError, match=r"the second moments of 9 features needs about 2,592 bytes"):
        small.global_bound()
