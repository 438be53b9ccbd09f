"""Factorised layers presented as their product, against a float64 matrix product."""

import pytest
import torch
from torch import Tensor

from shrinkscope.errors import PairingError
from shrinkscope.weights import open_weights
from shrinkscope.weights.mapping import Factors, Rules, Step, comparable

M, N, R = 10, 7, 3


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def mapped(dense, compressed, **rules) -> Step:
    return comparable(open_weights(dense), open_weights(compressed), Rules(**rules))


def close(found: Tensor, expected: Tensor) -> None:
    # Sums of at most ten products in float64.
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("fc.U", "fc.V"),
        ("fc.u", "fc.v"),
        ("fc.U.weight", "fc.V.weight"),
        ("fc_u", "fc_v"),
        ("fc.weight_U", "fc.weight_V"),
        ("fc_u.weight", "fc_v.weight"),
        ("fc.1.weight", "fc.0.weight"),
        ("fc.ALinear.weight", "fc.BLinear.weight"),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_two_factors_are_their_product(left, right, transposed):
    u, v = rand(M, R), rand(R, N)
    dense = {"fc.weight": rand(M, N), "other": rand(2)}
    step = mapped(dense, {left: u, right: v.T.contiguous() if transposed else v, "other": dense["other"]})
    assert set(step.compressed) == set(dense)
    view = step.compressed["fc.weight"]
    close(view.read(), u @ v)
    close(view.piece(5, 23), (u @ v).reshape(-1)[5:23])
    assert view.stored == M * R + R * N
    [note] = step.notes
    assert f"of rank 3: {view.stored} numbers stored instead of {M * N}" in note.text


def test_a_diagonal_between_them_and_names_inside_the_layers():
    u, s, v = rand(M, R), rand(R), rand(R, N)
    step = mapped({"l.0.q_proj.weight": rand(M, N)}, {"l.0.q_proj.U": u, "l.0.q_proj.S": s, "l.0.q_proj.V": v})
    close(step.compressed["l.0.q_proj.weight"].read(), u @ torch.diag(s) @ v)
    svd = mapped({"l.q_proj.weight": rand(M, N)}, {"l.q_u_proj.weight": u, "l.q_v_proj.weight": v})
    close(svd.compressed["l.q_proj.weight"].read(), u @ v)


def test_a_convolution_followed_by_one_of_single_pixels_and_their_biases():
    first, second, inner, outer = rand(R, 4, 3, 3), rand(M, R, 1, 1), rand(R), rand(M)
    dense = {"conv.weight": rand(M, 4, 3, 3), "conv.bias": rand(M)}
    after = {"conv.0.weight": first, "conv.0.bias": inner, "conv.1.weight": second, "conv.1.bias": outer}
    step = mapped(dense, after)
    assert set(step.compressed) == set(dense)
    merged = {name: view.read() for name, view in step.compressed.items()}
    x = rand(2, 4, 8, 8)
    two = torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, first, inner), second, outer)
    one = torch.nn.functional.conv2d(x, merged["conv.weight"], merged["conv.bias"])
    # Sums of some hundred products in float64.
    torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-12)
    assert sum(view.stored or view.parameters for view in step.compressed.values()) == sum(
        t.numel() for t in after.values()
    )


def test_half_precision_factors_are_not_rounded_to_half_precision_again():
    u, v = rand(M, R).bfloat16(), rand(R, N).bfloat16()
    view = mapped({"a.weight": rand(M, N).bfloat16()}, {"a.U": u, "a.V": v}).compressed["a.weight"]
    assert view.dtype == torch.float32
    assert torch.equal(view.read(), (u.double() @ v.double()).float())


def test_a_factorised_dense_network_is_multiplied_as_well():
    u, v = rand(M, R), rand(R, N)
    step = mapped({"a.U": u, "a.V": v}, {"a.weight": rand(M, N)})
    close(step.dense["a.weight"].read(), u @ v)


def test_square_factors_leave_open_which_is_transposed():
    step = mapped({"a.weight": rand(5, 5), "b": rand(1)}, {"a.U": rand(5, 5), "a.V": rand(5, 5, seed=1), "b": rand(1)})
    assert set(step.compressed) == {"a.U", "a.V", "b"}
    assert "may be a.U·a.V or a.U·a.Vᵀ" in step.notes[0].text


def test_shapes_that_make_another_product_are_left_alone():
    step = mapped({"a.weight": rand(M, N), "b": rand(1)}, {"a.U": rand(M, R), "a.V": rand(R, N + 1), "b": rand(1)})
    assert set(step.compressed) == {"a.U", "a.V", "b"}
    assert step.notes == ()


def test_names_of_the_users_own():
    u, v = rand(M, R), rand(R, N)
    rule = Factors(left="*.tall", right="*.wide", product="*.weight")
    step = mapped({"x.a.weight": rand(M, N)}, {"x.a.tall": u, "x.a.wide": v}, factors=(rule,))
    close(step.compressed["x.a.weight"].read(), u @ v)
    with pytest.raises(PairingError, match="have different wildcards"):
        Factors(left="*.u.*", right="*.v", product="*.weight")
