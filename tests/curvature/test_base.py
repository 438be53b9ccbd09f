import pytest
import torch

from shrinkscope.curvature import hessian
from shrinkscope.errors import CurvatureError


def test_a_direction_by_name_is_the_flat_vector(mlp, classes):
    curvature = hessian(mlp, classes)
    values = {name: torch.randn(shape, dtype=torch.float64) for name, shape in curvature.shapes.items()}
    flat = torch.cat([value.reshape(-1) for value in values.values()])
    assert torch.equal(curvature.flat(dict(reversed(values.items()))), flat)
    assert torch.equal(curvature.flat(flat), flat)


def test_names_left_out_do_not_move(mlp, classes):
    curvature = hessian(mlp, classes)
    flat = curvature.flat({"2.bias": torch.ones(3)})
    assert flat.dtype == torch.float64
    assert flat.tolist() == [0.0] * 40 + [1.0] * 3


@pytest.mark.parametrize(
    ("delta", "message"),
    [
        (
            {"2.wieght": torch.zeros(3, 5)},
            "2.wieght is not varied by the Hessian of 0.weight, .* the nearest are 2.weight",
        ),
        ({"2.weight": torch.zeros(5, 3)}, r"2.weight has shape \(5, 3\), expected \(3, 5\)"),
        (torch.zeros(42), r"the direction has shape \(42,\), expected \(43,\)"),
        (torch.full((43,), torch.nan), "the direction holds NaN or infinite values"),
    ],
)
def test_directions_that_do_not_fit_are_refused(mlp, classes, delta, message):
    with pytest.raises(CurvatureError, match=message):
        hessian(mlp, classes).flat(delta)


def test_the_description_counts_weights_and_names(mlp, classes):
    assert hessian(mlp, classes, layers="2").description == "the Hessian of 2.weight, 2.bias (18 weights)"
    assert hessian(mlp, classes).description == "the Hessian of 0.weight, 0.bias, 2.weight and 1 more (43 weights)"


def test_a_network_s_curvature_has_no_formula_for_its_traces(mlp, classes):
    assert hessian(mlp, classes).traces() is None
