"""Latents with Σ⁻¹ from data against torch on dense covariances, the limit of a singular Σ⁻¹, and what is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from references.student_t import by_double_integral
from shrinkscope.analysis import compare
from shrinkscope.errors import LatentError
from shrinkscope.latent import (
    InformedGaussian,
    InformedStudentT,
    KroneckerPrecision,
    Precisions,
    informed_name,
    resolve_latents,
)
from shrinkscope.weights import LayerSelection, PairSummary, open_weights, pair, summarise


def moment(columns: int, vectors: int, seed: int = 0) -> Tensor:
    x = torch.randn(vectors, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.T @ x / vectors


def layer(rows: int = 3, columns: int = 4) -> tuple[Tensor, Tensor]:
    dense = torch.randn(rows, columns, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return dense, torch.where(dense.abs() > 0.5, dense, 0.0)


def summary_of(dense: Tensor, compressed: Tensor) -> PairSummary:
    return summarise(pair(open_weights({"w": dense}), open_weights({"w": compressed}), LayerSelection()).pairs[0])


def precisions(matrix: Tensor, rows: int = 3) -> Precisions:
    return Precisions("input", {"w": KroneckerPrecision(matrix[None, None], rows)}, {"b": "a bias"}, "of a test")


def test_gaussian_agrees_with_torch_on_the_dense_precision():
    dense, compressed = layer()
    matrix = moment(4, 20)
    precision = torch.kron(torch.eye(3, dtype=torch.float64), matrix)
    normal = torch.distributions.MultivariateNormal
    laws = [normal(weights.flatten(), precision_matrix=precision) for weights in (dense, compressed)]
    truth = float(torch.distributions.kl_divergence(*laws))
    value = InformedGaussian(precisions=precisions(matrix)).divergence(summary_of(dense, compressed))
    # A Cholesky factorisation of a 12 × 12 matrix of condition below 100.
    assert value.value == pytest.approx(truth, rel=1e-12)
    assert (value.unit, value.status) == ("nats", "exact")


def test_the_damping_is_a_multiple_of_the_mean_eigenvalue():
    dense, compressed = layer()
    matrix = moment(4, 20)
    damped = matrix + 0.3 * matrix.trace() / 4 * torch.eye(4, dtype=torch.float64)
    value = InformedGaussian(precisions=precisions(matrix), damping=0.3).divergence(summary_of(dense, compressed))
    direct = InformedGaussian(precisions=precisions(damped)).divergence(summary_of(dense, compressed))
    assert value.value == pytest.approx(direct.value, rel=1e-13)  # sums of 12 terms


def test_a_singular_precision_is_the_limit_of_damped_ones():
    dense, compressed = layer()
    known = precisions(moment(4, 2))  # rank 2 of 4 in each row
    limit = InformedGaussian(precisions=known).divergence(summary_of(dense, compressed)).value
    for damping in (1e-2, 1e-4, 1e-6):
        damped = InformedGaussian(precisions=known, damping=damping).divergence(summary_of(dense, compressed)).value
        delta = dense - compressed
        mean = known["w"].trace() / 12
        assert damped - limit == pytest.approx(0.5 * damping * mean * float((delta**2).sum()), rel=1e-8)


def test_student_t_agrees_with_the_double_integral():
    dense, compressed = layer()
    matrix = moment(4, 20)
    delta = dense - compressed
    distance = math.sqrt(float(torch.einsum("oi,ij,oj", delta, matrix, delta)))
    value = InformedStudentT(precisions=precisions(matrix), df=5.0, damping=0.0).divergence(
        summary_of(dense, compressed)
    )
    # The reference has about 15 digits, the value what student_t_kl promises: more than ten.
    assert value.value == pytest.approx(float(by_double_integral(12, 5.0, distance)), rel=1e-9)


def test_a_student_t_without_damping_refuses_a_singular_precision_with_its_rank():
    summary = summary_of(*layer())
    with pytest.raises(LatentError, match="Σ⁻¹ has rank 6 of 12"):
        InformedStudentT(precisions=precisions(moment(4, 2)), damping=0.0).divergence(summary)
    nothing = precisions(torch.zeros(4, 4, dtype=torch.float64))
    with pytest.raises(LatentError, match="Σ⁻¹ has rank 0 of 12"):
        InformedStudentT(precisions=nothing).divergence(summary)
    assert InformedGaussian(precisions=nothing).divergence(summary).value == 0.0  # dead inputs: any change is free


def test_relative_is_the_error_s_share_of_the_output_energy():
    dense, compressed = layer()
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    energy, error = (x @ dense.T).square().sum(), (x @ (dense - compressed).T).square().sum()
    latent = InformedGaussian(precisions=precisions(moment(4, 20)), relative=True)
    assert latent.column == "ap3_relative_input"
    assert latent.divergence(summary_of(dense, compressed)).value == pytest.approx(float(0.5 * error / energy), 1e-13)
    dead = InformedGaussian(precisions=precisions(torch.zeros(4, 4, dtype=torch.float64)), relative=True)
    with pytest.raises(LatentError, match="nothing to measure against"):
        dead.divergence(summary_of(dense, compressed))


@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 100))
def test_the_gaussian_is_quadratic_in_the_inputs_scale_and_relative_is_free_of_it(factor, seed):
    matrix = moment(4, 9, seed)
    summary = summary_of(*layer())
    once, scaled = precisions(matrix), precisions(matrix * factor**2)
    absolute = [InformedGaussian(precisions=p).divergence(summary).value for p in (once, scaled)]
    relative = [InformedGaussian(precisions=p, relative=True).divergence(summary).value for p in (once, scaled)]
    assert absolute[1] == pytest.approx(absolute[0] * factor**2, rel=1e-12)
    assert relative[1] == pytest.approx(relative[0], rel=1e-12)


def test_rows_without_a_precision_say_why_and_settings_say_which():
    dense, compressed = layer()
    bias = torch.ones(3, dtype=torch.float64)
    latents = [InformedGaussian(precisions=precisions(moment(4, 20)))]
    found = compare(
        {"w": dense, "b": bias, "c": bias.clone()}, {"w": compressed, "b": bias + 1, "c": bias.clone()}, latents=latents
    )
    reasons = {row.layer: row.reason for row in found.rows}
    assert reasons == {
        "w": None,
        "b": "ap3_input: a bias",
        "c": "ap3_input: no Σ⁻¹ was gathered for c",
    }
    assert all("ap3_input" not in row.divergences for row in found.rows[1:])
    assert "of a test" in found.settings.latents[0]


def test_what_is_refused():
    known = precisions(moment(4, 20))
    with pytest.raises(LatentError, match="is for 12 weights and the layer has 15"):
        InformedGaussian(precisions=known).divergence(summary_of(*layer(3, 5)))
    with pytest.raises(LatentError, match="damping = -1"):
        InformedGaussian(precisions=known, damping=-1.0)
    with pytest.raises(LatentError, match="df = 0"):
        InformedStudentT(precisions=known, df=0.0)
    with pytest.raises(LatentError, match="no elements"):
        InformedGaussian(precisions=known).divergence(summary_of(torch.zeros(0), torch.zeros(0)))


def test_a_name_says_what_it_needs():
    with pytest.raises(LatentError, match=r"'kfac' is gathered from unlabelled inputs, which are not given; give them"):
        resolve_latents(["kfac"])
    with pytest.raises(LatentError, match=r"from inputs: input, input_block, input_diagonal, fisher, kfac, ga"):
        resolve_latents(["kfacs"])


def test_names_are_those_of_the_columns():
    assert informed_name("fisher") == ("fisher", False, False)
    assert informed_name("student_t_relative_input_block") == ("input_block", True, True)
    for other in ("gaussian", "student_t", "relative_", "student_t_grouped", "relative_student_t_input"):
        assert informed_name(other) is None


def test_columns():
    known = precisions(moment(4, 20))
    assert InformedGaussian(precisions=known).column == "ap3_input"
    assert InformedGaussian(precisions=known, name="mine").column == "ap3_mine"
    assert InformedStudentT(precisions=known).column == "ap3_student_t_input"
    assert InformedStudentT(precisions=known, relative=True).column == "ap3_student_t_relative_input"
    assert InformedStudentT(precisions=known, name="mine").column == "ap3_mine"
    assert InformedGaussian(precisions=known).groups is None
