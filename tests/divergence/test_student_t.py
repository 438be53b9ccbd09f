import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from references import student_t as reference
from references.student_t import relative_error
from shrinkscope.divergence import student_t_kl
from shrinkscope.errors import DivergenceError

GRID = json.loads((Path(reference.__file__).parent / "student_t_kl.json").read_text(encoding="utf-8"))
PAIRS = sorted({(entry["dim"], entry["df"]) for entry in GRID})

# The documented bound: (nodes + 60) roundings of 1.1e-16 are below 4e-13, the other errors below 1e-15.
RTOL = 1e-12

dims = st.one_of(st.integers(1, 50), st.integers(1, 10**10))
dfs = st.floats(math.log(0.1), math.log(1e7)).map(math.exp)


# Agreement with independent references


def test_the_grid_is_the_one_that_is_promised():
    assert len(GRID) == 10 * 7 * 8
    assert {entry["dim"] for entry in GRID} == {1, 2, 3, 10, 100, 10**3, 2 * 10**4, 10**6, 10**8, 10**10}
    assert {entry["df"] for entry in GRID} == {0.5, 1, 2, 4, 30, 1e3, 1e6}
    for dim, df in PAIRS:
        scaled = {1e-8, 1e-4, 1e-2, 1.0, 10.0, math.sqrt(dim), 100 * math.sqrt(dim), 1e8}
        assert {entry["delta"] for entry in GRID if (entry["dim"], entry["df"]) == (dim, df)} == scaled


def test_every_stored_reference_has_two_derivations_that_agree():
    assert all(len(entry["derivations"]) >= 2 for entry in GRID)
    assert sum("double integral" in entry["derivations"] for entry in GRID) > 480
    assert max(entry["spread"] for entry in GRID) < 1e-15


@pytest.mark.parametrize(("dim", "df"), PAIRS)
def test_agrees_with_the_stored_references(dim, df):
    entries = [entry for entry in GRID if (entry["dim"], entry["df"]) == (dim, df)]
    found = student_t_kl(torch.tensor([entry["delta"] for entry in entries], dtype=torch.float64), dim=dim, df=df)
    errors = [relative_error(value.item(), entry["kl"]) for value, entry in zip(found, entries, strict=True)]
    assert max(errors) < RTOL


def test_stored_references_follow_from_the_power_series():
    entries = [entry for entry in GRID if "power series" in entry["derivations"]]
    assert len(entries) > 300
    for entry in entries:
        series = reference.by_power_series(entry["dim"], entry["df"], entry["delta"])
        assert relative_error(entry["kl"], series) < 1e-18  # 20 digits are stored


@pytest.mark.parametrize(
    ("dim", "df", "delta"),
    [(1, 0.5, 1e8), (1, 4, 1), (10, 30, 10), (1000, 4, 1), (10**6, 1e3, 1e8), (10**10, 1e6, 1e5)],
)
def test_stored_references_follow_from_the_definition(dim, df, delta):
    (stored,) = {entry["kl"] for entry in GRID if (entry["dim"], entry["df"], entry["delta"]) == (dim, df, delta)}
    assert relative_error(stored, reference.by_double_integral(dim, df, delta)) < 1e-15


@pytest.mark.parametrize(("dim", "df", "delta"), [(1, 0.5, 1.0), (3, 4, 2.0), (100, 4, 1.0), (10**8, 30, 10.0)])
def test_the_mixture_series_agrees_with_the_power_series_or_the_line_integral(dim, df, delta):
    mixture = reference.by_mixture_series(dim, df, delta)
    other = reference.by_power_series if delta**2 < 3 * df else reference.by_line_integral
    assert relative_error(mixture, other(dim, df, delta)) < 1e-19


@pytest.mark.parametrize(
    ("dim", "df", "delta", "expected"),
    [
        (100, 4, 0.01, "4.90565709453391e-5"),
        (100, 4, 1, "0.487319685981082"),
        (100, 4, 5, "10.6392210730028"),
        (3, 4, 2, "1.31620928299399"),
        (2, 4, 2, "1.25718973951923"),
        (1, 4, 2, "1.18499041877625"),
        (10, 1, 0.5, "0.103808164041718"),
        (20480, 4, 1, "0.499932889328644"),
        (1e8, 4, 1, "0.499999986250001"),
    ],
)
def test_agrees_with_published_digits(dim, df, delta, expected):
    # 15 digits are printed, the last one rounded
    assert relative_error(student_t_kl(delta, dim=dim, df=df).item(), expected) < 1e-14


@pytest.mark.parametrize("delta", [1e-90, 1e-5, 0.3, 2.0, 1e3, 1e60, 1e100])
def test_one_dimension_and_one_degree_of_freedom_is_the_cauchy_closed_form(delta):
    assert relative_error(student_t_kl(delta, dim=1, df=1).item(), reference.cauchy(delta)) < RTOL


@settings(max_examples=150, deadline=None)
@given(dim=dims, df=dfs, ratio=st.floats(-30, -0.05))
def test_agrees_with_the_power_series_anywhere_it_converges_fast(dim, df, ratio):
    delta = math.exp(ratio) * math.sqrt(df)  # delta**2/df < 0.91
    assert relative_error(student_t_kl(delta, dim=dim, df=df).item(), reference.by_power_series(dim, df, delta)) < RTOL


@settings(max_examples=8, deadline=None)
@given(dim=dims, df=dfs, magnitude=st.floats(-2, 20))
def test_agrees_with_the_line_integral_at_any_distance(dim, df, magnitude):
    delta = 10**magnitude
    assert relative_error(student_t_kl(delta, dim=dim, df=df).item(), reference.by_line_integral(dim, df, delta)) < RTOL


@pytest.mark.parametrize(("dim", "df", "delta"), [(4, 12.5, 2.0), (7, 3.7, 0.2), (19, 2.3, 40.0), (50, 1.1, 3.0)])
def test_agrees_with_the_definition_between_the_points_of_the_grid(dim, df, delta):
    assert (
        relative_error(student_t_kl(delta, dim=dim, df=df).item(), reference.by_double_integral(dim, df, delta)) < RTOL
    )


# Properties


@given(dim=dims, df=dfs)
def test_no_shift_is_exactly_zero(dim, df):
    assert student_t_kl(torch.zeros(2, 3), dim=dim, df=df).tolist() == [[0.0] * 3] * 2


@given(dim=dims, df=dfs, logs=st.lists(st.floats(-320, 230), min_size=2, max_size=5))
def test_never_decreases_with_distance(dim, df, logs):
    found = student_t_kl(torch.tensor(sorted(logs), dtype=torch.float64).exp(), dim=dim, df=df)
    # Neighbouring distances may differ by less than the rounding of the sum.
    assert bool((found[1:] >= found[:-1] * (1 - RTOL)).all())


@pytest.mark.parametrize(("dim", "df"), [(1, 0.5), (1, 1e6), (100, 4), (1e10, 0.5)])
def test_increases_over_the_whole_range_of_distances(dim, df):
    found = student_t_kl(torch.logspace(-149, 100, 1000, dtype=torch.float64), dim=dim, df=df)
    assert bool((found.diff() > 0).all())


@given(dim=dims, df=dfs, delta=st.floats(1e-150, 1e100))
def test_never_exceeds_its_quadratic_approximation(dim, df, delta):
    # 1 - (1 + z)^-b <= b z under the integral
    quadratic = delta / 2 * delta * (df + dim) / (df + dim + 2)
    assert student_t_kl(delta, dim=dim, df=df).item() <= quadratic * (1 + RTOL)


@pytest.mark.parametrize("delta", [1e-6, 1e-30, 1e-99, 1e-101, 1e-150])
@pytest.mark.parametrize(("dim", "df"), [(1, 0.5), (100, 4), (1e10, 1e6)])
def test_small_shifts_follow_the_quadratic_approximation(dim, df, delta):
    quadratic = delta / 2 * delta * (df + dim) / (df + dim + 2)
    # The next term is below delta**2 (1 + 2/df) / 4, 1.25e-12 for the largest delta here.
    assert student_t_kl(delta, dim=dim, df=df).item() == pytest.approx(quadratic, rel=2e-12, abs=0)


@pytest.mark.parametrize("delta", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("dim", [1, 100, 20480])
def test_many_degrees_of_freedom_give_the_gaussian_divergence(dim, delta):
    gaps = [1 - student_t_kl(delta, dim=dim, df=df).item() / (delta**2 / 2) for df in (1e7, 1e8, 1e9)]
    assert gaps[0] == pytest.approx(10 * gaps[1], rel=0.03)  # the gap is of order 1/df; corrections up to dim/df
    assert gaps[1] == pytest.approx(10 * gaps[2], rel=0.03)
    assert student_t_kl(delta, dim=dim, df=1e15).item() == pytest.approx(delta**2 / 2, rel=2e-12)


@pytest.mark.parametrize("delta", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("df", [0.5, 4, 1e3])
def test_many_dimensions_give_the_gaussian_divergence(df, delta):
    gaps = [1 - student_t_kl(delta, dim=dim, df=df).item() / (delta**2 / 2) for dim in (1e7, 1e8, 1e9)]
    assert gaps[0] == pytest.approx(10 * gaps[1], rel=0.03)  # the gap is of order (1 + delta**2/df)/dim
    assert gaps[1] == pytest.approx(10 * gaps[2], rel=0.03)


def test_large_shifts_grow_logarithmically():
    found = student_t_kl(torch.tensor([1e40, 1e50, 1e60], dtype=torch.float64), dim=100, df=4)
    # (df + dim)/2 log(delta**2): each step of 1e10 adds 52 log(1e20)
    torch.testing.assert_close(
        found.diff(), torch.full((2,), 52 * math.log(1e20), dtype=torch.float64), rtol=1e-11, atol=0
    )


def test_one_call_gives_what_single_calls_give_in_the_same_shape():
    deltas = torch.logspace(-12, 12, 600, dtype=torch.float64).reshape(4, 50, 3)
    found = student_t_kl(deltas, dim=64, df=3)
    singly = [student_t_kl(delta, dim=64, df=3).item() for delta in deltas.reshape(-1).tolist()]
    assert found.shape == deltas.shape
    # The left end of the sum depends on the largest distance of the call; both ends are below rounding.
    torch.testing.assert_close(found.reshape(-1), torch.tensor(singly, dtype=torch.float64), rtol=1e-14, atol=0)


@pytest.mark.parametrize("delta", [2, 2.0, torch.tensor(2), torch.tensor(2.0), torch.tensor(2.0, dtype=torch.bfloat16)])
def test_any_real_scalar_is_taken_and_float64_returned(delta):
    found = student_t_kl(delta, dim=3, df=4)
    assert (found.dtype, found.shape) == (torch.float64, ())
    assert found.item() == pytest.approx(1.31620928299399, rel=1e-14)


def test_no_distances_give_no_divergences():
    assert student_t_kl(torch.zeros(0, 3), dim=3, df=4).shape == (0, 3)


# Derivatives


@pytest.mark.parametrize(("dim", "df"), [(1, 0.5), (2, 1e4), (100, 4)])
def test_first_and_second_derivatives_pass_gradcheck(dim, df):
    delta = torch.tensor([[0.01, 0.5, 1.0], [7.0, 40.0, 900.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: student_t_kl(value, dim=dim, df=df), delta)
    assert torch.autograd.gradgradcheck(lambda value: student_t_kl(value, dim=dim, df=df), delta)


def gradient(delta: float, dim: float, df: float) -> float:
    variable = torch.tensor(delta, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(student_t_kl(variable, dim=dim, df=df), variable)[0].item()


@settings(max_examples=60, deadline=None)
@given(dim=dims, df=dfs, ratio=st.floats(-30, -0.05))
def test_gradient_agrees_with_the_derivative_of_the_power_series(dim, df, ratio):
    delta = math.exp(ratio) * math.sqrt(df)
    expected = reference.by_power_series(dim, df, delta, derivative=True)
    assert relative_error(gradient(delta, dim, df), expected) < RTOL


@pytest.mark.parametrize(("dim", "df", "delta"), [(1, 0.5, 1e8), (1, 1e6, 1e4), (100, 4, 1e8), (10**8, 0.5, 1e6)])
def test_gradient_keeps_its_accuracy_where_the_divergence_saturates(dim, df, delta):
    expected = reference.slope_by_differences(dim, df, delta)
    assert relative_error(gradient(delta, dim, df), expected) < RTOL


def test_gradient_at_no_shift_is_zero_also_through_a_norm():
    assert gradient(0.0, 100, 4) == 0.0
    shift = torch.zeros(5, requires_grad=True)
    student_t_kl(shift.norm(), dim=5, df=4).backward()
    assert shift.grad is not None
    assert shift.grad.tolist() == [0.0] * 5


@pytest.mark.parametrize("delta", [1e-120, 1e-3])
def test_gradient_of_a_small_shift_is_the_quadratic_one(delta):
    # Relative size of the next term: delta**2 (1 + 2/df)/2
    assert gradient(delta, 100, 4) == pytest.approx(delta * 104 / 106, rel=1e-6, abs=0)


def test_works_as_a_regulariser_of_float32_weights():
    weights = torch.tensor([3.0, -4.0], requires_grad=True)
    values = []
    for _ in range(20):
        loss = student_t_kl(weights.norm(), dim=2, df=4)
        (direction,) = torch.autograd.grad(loss, weights)
        weights = (weights - 0.5 * direction).detach().requires_grad_()
        values.append(loss.item())
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-3 * values[0]


def test_works_with_functional_gradients():
    slope = torch.func.grad(lambda delta: student_t_kl(delta, dim=7, df=3))(torch.tensor(1.5, dtype=torch.float64))
    assert slope.item() == pytest.approx(gradient(1.5, 7, 3), rel=1e-15)


# Errors


@pytest.mark.parametrize("dim", [0, -3, 2.5, math.nan, math.inf, 1e16])
def test_refuses_a_dimension_outside_the_proved_range(dim):
    with pytest.raises(DivergenceError, match=r"dim is .*; expected a whole number of coordinates from 1 to 1e\+15"):
        student_t_kl(1.0, dim=dim, df=4)


@pytest.mark.parametrize("df", [0, -1.0, 1e-7, math.nan, math.inf, 2e15])
def test_refuses_degrees_of_freedom_outside_the_proved_range(df):
    with pytest.raises(DivergenceError, match=r"df is .*; expected degrees of freedom from 1e-06 to 1e\+15 .*Gaussian"):
        student_t_kl(1.0, dim=3, df=df)


@pytest.mark.parametrize("delta", [-1e-3, math.nan, math.inf, 1e101])
def test_refuses_an_impossible_distance(delta):
    with pytest.raises(DivergenceError, match=r"^delta is .*; expected a distance from 0 to 1e\+100"):
        student_t_kl(delta, dim=3, df=4)


def test_names_the_first_impossible_distance():
    with pytest.raises(DivergenceError, match=r"delta\[1, 0\] is nan; expected a distance"):
        student_t_kl(torch.tensor([[1.0, 2.0], [math.nan, -1.0]]), dim=3, df=4)


def test_refuses_complex_distances():
    with pytest.raises(DivergenceError, match=r"delta has dtype torch.complex64; expected real distances"):
        student_t_kl(torch.tensor(1j), dim=3, df=4)
