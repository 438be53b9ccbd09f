"""Theorem 3.6: a training that violates the printed form, and random trainings on which the corrected ones hold."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from references.covariances import generator, normal, positive_definite
from references.losses import pruned
from shrinkscope.divergence import gaussian_kl, student_t_kl
from shrinkscope.divergence.covariance import Dense, Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.theory import corollary_2_6, definition_2_7, theorem_3_6
from shrinkscope.theory.constants import inverse_extremes


@dataclass(frozen=True)
class Training:
    """Masked training on f(ω) = ½(ω − ω*)ᵀH(ω − ω*): its iterates, steps, and the gradients that were used."""

    optimum: Tensor
    hessian: Tensor
    iterates: list[Tensor]
    gradients: list[Tensor]

    def loss(self, weights: Tensor) -> float:
        return float((weights - self.optimum) @ self.hessian @ (weights - self.optimum)) / 2

    def difference(self, t: int) -> float:
        return abs(self.loss(self.iterates[t]) - self.loss(self.optimum))

    def length(self, t: int) -> float:
        return sum(float((b - a).norm()) for a, b in zip(self.iterates[t:], self.iterates[t + 1 :], strict=False))

    def largest_gradient(self, t: int) -> float:
        return max((float(g.norm()) for g in self.gradients[t:]), default=0.0)

    @property
    def sparse(self) -> Tensor:
        return self.iterates[-1]


def train(optimum: Tensor, hessian: Tensor, start: Tensor, steps: int, rate: float, momentum: float = 0.0, noise=None):
    """Gradient descent on the weights that are not zero at the start, with momentum or noise as of mini-batches."""
    mask, iterates, gradients, velocity = start != 0, [start], [], torch.zeros_like(start)
    for _ in range(steps):
        gradient = mask * (hessian @ (iterates[-1] - optimum))
        gradient = gradient if noise is None else gradient + mask * normal(len(start), rng=noise)
        velocity = momentum * velocity + gradient
        gradients.append(gradient)
        iterates.append(iterates[-1] - rate * velocity)
    return Training(optimum, hessian, iterates, gradients)


@pytest.mark.parametrize(("momentum", "noisy"), [(0.0, False), (0.9, False), (0.0, True), (0.9, True)])
def test_the_corrected_forms_hold_at_every_iteration_of_random_trainings(momentum, noisy):
    rng, finite, checked = generator(1), 0, 0
    for _ in range(12):
        hessian, optimum = positive_definite(5, rng), normal(5, rng=rng)
        start = pruned(optimum.unsqueeze(0), rng)[0] * (1 + 0.5 * normal(5, rng=rng))
        training = train(optimum, hessian, start, 30, 0.02, momentum, rng if noisy else None)
        scale = 10 ** float(torch.rand(1, generator=rng, dtype=torch.float64) * 3)
        covariance = Dense(scale * positive_definite(5, rng))
        known = {"gradient_norm": 0.0, "curvature": float(torch.linalg.eigvalsh(hessian)[-1]), "over_segment": True}
        smallest, trace = inverse_extremes(covariance)[0], covariance.trace()
        for t in range(31):
            iterate, sparse = training.iterates[t], training.sparse
            between = [
                float(gaussian_kl(delta, covariance))
                for delta in (optimum - sparse, optimum - iterate, sparse - iterate)
            ]
            ap3 = definition_2_7.approximate_ap3(
                dense_to_sparse=between[0], dense_to_iterate=between[1], sparse_to_iterate=between[2]
            )
            theorem = {"epsilon": ap3.theorem.value, "sparse_to_iterate": between[2], "path_length": training.length(t)}
            bounds = (
                theorem_3_6.corrected(**theorem, trace_p=trace, trace_q=trace, **known),
                theorem_3_6.corrected_gaussian(**theorem, inverse_min=smallest, **known),
                theorem_3_6.sharpened_gaussian(
                    epsilon=ap3.definition.value, dense_to_sparse=between[0], inverse_min=smallest, **known
                ),
            )
            for bound in bounds:
                assert not bound.violated(training.difference(t), tolerance=1e-9)
            finite, checked = finite + math.isfinite(bounds[0].value), checked + 1
    assert finite > checked / 2


def test_the_corrected_form_holds_for_student_t_latents():
    optimum, hessian = torch.tensor([1.0, 0.3], dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    training = train(optimum, hessian, torch.tensor([0.5, 0.0], dtype=torch.float64), 20, 0.1)
    trace = 2 * 2.0 * 4.0  # df 4: the covariance is twice the scale 4I
    for t in range(21):
        gaps = ((optimum - training.sparse).norm() / 2, (training.sparse - training.iterates[t]).norm() / 2)
        first, later = (float(student_t_kl(gap, dim=2, df=4)) for gap in gaps)
        bound = theorem_3_6.corrected(
            epsilon=abs(first - later),
            sparse_to_iterate=later,
            trace_p=trace,
            trace_q=trace,
            path_length=training.length(t),
            gradient_norm=0.0,
            curvature=1.0,
        )
        assert math.isfinite(bound.value)
        assert not bound.violated(training.difference(t))


def slow_training(steps: int, rate: float) -> tuple[Training, float]:
    """One kept weight on its way from 0⁺ to 1, one pruned; small steps, so that many add up."""
    kept = 1 - (1 - rate) ** steps
    optimum = torch.tensor([1.0, kept], dtype=torch.float64)  # ‖ω* − ω̃*‖ ≈ ‖ω̃* − ω̃ᵗ‖, so that ε_t ≈ 0
    start = torch.tensor([1e-12, 0.0], dtype=torch.float64)
    return train(optimum, torch.eye(2, dtype=torch.float64), start, steps, rate), kept


def test_the_printed_form_is_violated_by_many_small_steps():
    # Eq. (48) has T − t where (T − t)² belongs. Unit Gaussians: K̄₁ = K̄₂ = ½ make Eq. (45) an equation.
    steps, rate = 300, 0.01
    training, _ = slow_training(steps, rate)
    one = Isotropic(2)
    first, later = (
        float(gaussian_kl(delta, one))
        for delta in (training.optimum - training.sparse, training.sparse - training.iterates[0])
    )
    published = theorem_3_6.as_published(
        epsilon=abs(first - later),
        steps=steps,
        step_size=rate,
        largest_gradient=training.largest_gradient(0),
        k1=0.5,
        k2=0.5,
        largest_eigenvalue=1.0,
        gradient_norm=0.0,
    )
    measured = training.difference(0)
    assert published.violated(measured)
    assert published.value < measured / 20
    known = {"epsilon": abs(first - later), "sparse_to_iterate": later, "inverse_min": 1.0, "curvature": 1.0}
    for length in (
        training.length(0),
        theorem_3_6.gradient_descent_length(steps=steps, step_size=rate, largest_gradient=training.largest_gradient(0)),
    ):
        assert not theorem_3_6.corrected_gaussian(**known, path_length=length, gradient_norm=0.0).violated(measured)


def test_a_sum_of_two_squares_is_no_bound_on_the_square_of_a_sum():
    # Eq. (46) lacks a factor 2: (x + y)² with x = y. The corrected form has (x + y)², between the two.
    bound = theorem_3_6.corrected_gaussian(
        epsilon=0.0, sparse_to_iterate=0.5, inverse_min=1.0, path_length=1.0, gradient_norm=0.0, curvature=2.0
    )
    x = y = 1.0
    assert x**2 + y**2 < bound.value == (x + y) ** 2 <= 2 * (x**2 + y**2)


def test_momentum_takes_longer_steps_than_eq_47():
    plain = {"optimum": torch.ones(1, dtype=torch.float64), "hessian": torch.eye(1, dtype=torch.float64) * 0.01}
    training = train(**plain, start=torch.full((1,), 1e-9, dtype=torch.float64), steps=50, rate=0.1, momentum=0.9)
    moved = float((training.sparse - training.iterates[0]).norm())
    eq_47 = theorem_3_6.gradient_descent_length(steps=50, step_size=0.1, largest_gradient=training.largest_gradient(0))
    assert moved > 2 * eq_47
    assert moved <= training.length(0) * (1 + 1e-12)


def test_no_constant_k1_exists_that_eq_45_could_have():
    # Corollary 2.6, from which Eq. (45) takes K̄₁, is of the fourth order in ‖ω* − ω̃*‖: over the square it falls to 0.
    def k1(square: float) -> float:
        return corollary_2_6.as_published(squared_distance=square, trace_p=1.0, trace_q=1.0).value / square

    assert k1(1e-8) < 1e-8
    assert k1(1.0) > 0.05


def test_at_the_last_step_the_printed_bound_is_that_of_epsilon_alone():
    published = theorem_3_6.as_published(
        epsilon=0.5, steps=0, step_size=0.1, largest_gradient=1.0, k1=0.5, k2=0.5, largest_eigenvalue=2.0
    )
    assert published.value == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -1.0}, "ε_t is -1.0"),
        ({"steps": -1}, "T − t, the number of steps is -1"),
        ({"step_size": math.nan}, "α, the size of a step is nan"),
        ({"largest_gradient": -1.0}, "largest norm of a gradient is -1.0"),
        ({"k1": 0.0}, "K̄₁ is 0.0; expected a positive"),
        ({"k2": -1.0}, "K̄₂ is -1.0"),
        ({"largest_eigenvalue": math.inf}, "λ_max, the largest eigenvalue of the Hessian is inf"),
    ],
)
def test_nonsense_in_the_printed_form_is_refused(change, message):
    arguments = {"epsilon": 0.1, "steps": 3, "step_size": 0.1, "largest_gradient": 1.0, "k1": 0.5, "k2": 0.5}
    with pytest.raises(TheoryError, match=message):
        theorem_3_6.as_published(**arguments | {"largest_eigenvalue": 1.0} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -1.0}, "ε_t is -1.0"),
        ({"sparse_to_iterate": math.nan}, r"KL\(P_ω̃\*‖P_ω̃ᵗ\) is nan"),
        ({"path_length": -1.0}, "the path length is -1.0"),
        ({"gradient_norm": -1.0}, "norm of the gradient is -1.0"),
        ({"curvature": -1.0}, "curvature .* is -1.0"),
    ],
)
def test_nonsense_is_refused(change, message):
    arguments = {"epsilon": 0.1, "sparse_to_iterate": 0.1, "path_length": 1.0, "gradient_norm": 0.0, "curvature": 1.0}
    with pytest.raises(TheoryError, match=message):
        theorem_3_6.corrected_gaussian(**arguments | change, inverse_min=1.0)
    with pytest.raises(TheoryError, match=message):
        theorem_3_6.corrected(**arguments | change, trace_p=1.0, trace_q=1.0)


def test_nonsense_in_the_sharpened_form_is_refused():
    arguments = {"epsilon": 0.1, "dense_to_sparse": -1.0, "inverse_min": 1.0, "gradient_norm": 0.0, "curvature": 1.0}
    with pytest.raises(TheoryError, match=r"KL\(P_ω\*‖P_ω̃\*\) is -1.0"):
        theorem_3_6.sharpened_gaussian(**arguments)
    with pytest.raises(TheoryError, match="λ_min, the smallest eigenvalue of Σ⁻¹ is 0.0"):
        theorem_3_6.sharpened_gaussian(**arguments | {"dense_to_sparse": 1.0, "inverse_min": 0.0})
