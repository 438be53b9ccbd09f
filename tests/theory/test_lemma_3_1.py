"""Lemma 3.1: each way in which the printed form fails, and random models on which the corrected one never does."""

import math

import pytest
import torch

from references.covariances import between, generator, positive_definite
from references.losses import Instances, families, quadratics, rounded
from shrinkscope.divergence import gaussian_kl, student_t_kl
from shrinkscope.divergence.covariance import Dense
from shrinkscope.errors import TheoryError
from shrinkscope.theory import lemma_3_1

COUNT = 350
SLACK = 1e-6  # of the bound: curvature is taken at quadrature nodes (references/losses.py)


def gaussian_latents(models: Instances, rng: torch.Generator) -> list[dict[str, float]]:
    """ε and the traces for Gaussian latents of random covariances, with ε from far below 1 to beyond 2."""
    rows = []
    for delta in models.delta:
        scale = float(delta.square().sum()) * 10 ** float(between(-0.5, 2.5, 1, rng=rng))
        first = scale * positive_definite(len(delta), rng)
        second = first if len(rows) % 2 else first + 0.2 * scale * positive_definite(len(delta), rng)
        kl = float(gaussian_kl(delta, Dense(first), Dense(second)))
        rows.append({"epsilon": kl, "trace_p": float(first.trace()), "trace_q": float(second.trace())})
    return rows


def student_t_latents(models: Instances, rng: torch.Generator) -> list[dict[str, float]]:
    """The same for Student-t latents: the traces are those of the covariances."""
    dim, rows = models.delta.shape[-1], []
    for square in models.delta.square().sum(-1).tolist():
        df, scale = 2.1 + 10 * float(between(0, 1, 1, rng=rng)), square * 10 ** float(between(-0.5, 2.5, 1, rng=rng))
        kl = float(student_t_kl(torch.tensor(math.sqrt(square / scale), dtype=torch.float64), dim=dim, df=df))
        trace = df / (df - 2) * dim * scale
        rows.append({"epsilon": kl, "trace_p": trace, "trace_q": trace})
    return rows


@pytest.mark.parametrize("latents", [gaussian_latents, student_t_latents])
def test_the_corrected_and_the_sharpened_form_hold_on_thousands_of_models(latents):
    rng, finite = generator(7), 0
    for models in families(COUNT, rng):
        ends = [models.gradient_norm("dense"), models.gradient_norm("compressed")]
        known = latents(models, rng)
        for i, (bend, difference) in enumerate(zip(models.curvature, models.difference, strict=True)):
            arguments = known[i] | {"gradient_norm": ends[i % 2][i], "curvature": bend, "target_mass": 1.0}
            corrected, sharpened = lemma_3_1.corrected(**arguments), lemma_3_1.sharpened(**arguments)
            assert not corrected.violated(difference, tolerance=SLACK * difference + 1e-12)
            assert not sharpened.violated(difference, tolerance=SLACK * difference + 1e-12)
            assert sharpened.value <= corrected.value * (1 + 1e-8)
            finite += math.isfinite(corrected.value)
    assert finite > 0.5 * 3 * COUNT  # the corrected form did not hold by saying nothing


def test_the_form_for_equal_covariances_holds_on_thousands_of_models():
    rng = generator(8)
    for models in families(COUNT, rng):
        slopes = models.gradient_norm("compressed")
        squares = models.delta.square().sum(-1).tolist()
        for square, slope, bend, difference in zip(squares, slopes, models.curvature, models.difference, strict=True):
            df, scale = 2.1 + 10 * float(between(0, 1, 1, rng=rng)), 10 ** float(between(-1, 2, 1, rng=rng))
            delta = torch.tensor(math.sqrt(square / scale), dtype=torch.float64)
            bound = lemma_3_1.sharpened_equal_covariance(
                epsilon=float(student_t_kl(delta, dim=models.delta.shape[-1], df=df)),
                inverse_min=(df - 2) / df / scale,
                gradient_norm=slope,
                curvature=bend,
                target_mass=1.0,
            )
            assert not bound.violated(difference, tolerance=SLACK * difference + 1e-12)


def test_the_printed_form_is_violated_by_fine_quantisation_of_random_models():
    # Gaussian latents with Σ as fine as the steps, so that ε = 1: the bound falls with ‖Δ‖², the loss only with ‖Δ‖.
    rng = generator(9)
    for models in families(COUNT, rng, rounded):
        dim = models.delta.shape[-1]
        violated, squares = 0, models.delta.square().sum(-1).tolist()
        rows = zip(
            squares,
            models.gradient_norm("compressed"),
            models.largest_eigenvalue,
            models.curvature,
            models.difference,
            strict=True,
        )
        for square, slope, top, bend, difference in rows:
            latents = {"epsilon": 1.0, "trace_p": dim * square / 2, "trace_q": dim * square / 2, "target_mass": 1.0}
            violated += lemma_3_1.as_published(**latents, largest_eigenvalue=top).violated(difference)
            assert not lemma_3_1.corrected(**latents, gradient_norm=slope, curvature=bend).violated(difference)
        assert violated > COUNT / 4


GAUSSIAN = {"trace_p": 1.0, "trace_q": 1.0, "target_mass": 1.0}


def test_violated_by_the_gradient_and_by_the_papers_own_loss():
    # Eq. (12): ℓ is linear in the last layer's weights, so that its Hessian is zero, and so is the printed bound.
    moved, slope = 0.5, 3.0
    arguments = GAUSSIAN | {"epsilon": moved**2 / 2}
    published = lemma_3_1.as_published(**arguments, largest_eigenvalue=0.0, gradient_norm=slope)
    assert published.value == 0.0
    assert published.violated(slope * moved)
    assert published.assumptions_hold is False
    assert not lemma_3_1.corrected(**arguments, gradient_norm=slope, curvature=0.0).violated(slope * moved)


def test_the_gradient_of_a_fine_tuned_sparse_network_does_not_vanish_where_it_matters():
    # f(ω) = ½(ω₁ − 1)² + ½(ω₂ − 3)² + ½ω₁ω₂ with ω₂ pruned and ω₁ trained on: ∇f ≠ 0 exactly where Δ ≠ 0.
    def loss(w: torch.Tensor) -> torch.Tensor:
        return (w[0] - 1) ** 2 / 2 + (w[1] - 3) ** 2 / 2 + w[0] * w[1] / 2

    sparse = torch.tensor([1.0, 0.0], dtype=torch.float64)
    gradient = torch.func.grad(loss)(sparse)
    assert gradient.tolist() == [0.0, -2.5]


def test_violated_by_curvature_that_grows_along_the_segment():
    # ℓ(ω) = ω⁴ at ω̃ = 0: gradient and Hessian vanish there, and the loss does not stay.
    moved = 1.0
    published = lemma_3_1.as_published(**GAUSSIAN, epsilon=moved**2 / 2, largest_eigenvalue=0.0, gradient_norm=0.0)
    assert published.violated(moved**4)
    corrected = lemma_3_1.corrected(
        **GAUSSIAN, epsilon=moved**2 / 2, gradient_norm=0.0, curvature=12 * moved**2, over_segment=True
    )
    assert not corrected.violated(moved**4)


@pytest.mark.parametrize("eigenvalues", [(-1.0, -1.0), (0.01, -10.0)])
def test_violated_by_the_sign_of_the_eigenvalue(eigenvalues):
    # A maximum or a saddle: the largest eigenvalue is negative or small, the largest absolute one counts.
    moved = 1.0
    difference = abs(eigenvalues[1]) * moved**2 / 2
    arguments = {"epsilon": moved**2 / 2, "trace_p": 2.0, "trace_q": 2.0, "target_mass": 1.0}
    published = lemma_3_1.as_published(**arguments, largest_eigenvalue=max(eigenvalues), gradient_norm=0.0)
    assert published.violated(difference)
    corrected = lemma_3_1.corrected(**arguments, gradient_norm=0.0, curvature=max(map(abs, eigenvalues)))
    assert not corrected.violated(difference)


def test_violated_by_targets_with_a_sign():
    # Eq. (14): |E{Yℓ} − E{Yℓ̃}| ≤ E{Y|ℓ − ℓ̃|} needs Y ≥ 0. With Y = −1 the printed bound is negative.
    moved, bend = 1.0, 1.0
    arguments = {"epsilon": moved**2 / 2, "trace_p": 1.0, "trace_q": 1.0}
    published = lemma_3_1.as_published(**arguments, largest_eigenvalue=bend, target_mass=-1.0)
    assert published.violated(bend * moved**2 / 2)
    corrected = lemma_3_1.corrected(**arguments, gradient_norm=0.0, curvature=bend, target_mass=1.0)
    assert not corrected.violated(bend * moved**2 / 2)


def test_violated_by_the_layers_before_the_last():
    # The statement lets them differ. F(x) = v·u·x with the same last layer v and another u: ε = 0, and so is the bound.
    v, u, other = 1.0, 1.0, 0.2
    published = lemma_3_1.as_published(**GAUSSIAN, epsilon=0.0, largest_eigenvalue=1.0, gradient_norm=0.0)
    assert published.value == 0.0
    assert published.violated(abs(v * u - v * other))


def test_the_lost_factor_alone_does_not_break_it():
    # Quadratics at their minimum, with the right λ: Eq. (16) as printed is true, see test_equation_16.py.
    rng = generator(10)
    models = quadratics(COUNT, 4, rng)
    for i, row in enumerate(gaussian_latents(models, rng)):
        delta, hessian = models.delta[i], models.hessians[i, 0]
        bowl = hessian @ hessian
        top = float(torch.linalg.eigvalsh(bowl)[-1])
        bound = lemma_3_1.as_published(**row, largest_eigenvalue=top, target_mass=1.0, gradient_norm=0.0)
        assert not bound.violated(float(delta @ bowl @ delta) / 2)


@pytest.mark.parametrize("epsilon", [2.0, 7.0, math.inf])
def test_from_two_nats_on_it_says_nothing(epsilon):
    published = lemma_3_1.as_published(**GAUSSIAN, epsilon=epsilon, largest_eigenvalue=1.0)
    corrected = lemma_3_1.corrected(**GAUSSIAN, epsilon=epsilon, gradient_norm=0.0, curvature=1.0)
    assert published.value == corrected.value == math.inf
    assert published.assumptions_hold is corrected.assumptions_hold is False


def test_what_went_in_is_recorded_and_what_was_checked_is_said():
    bound = lemma_3_1.corrected(
        epsilon=0.5,
        trace_p=2.0,
        trace_q=3.0,
        gradient_norm=0.25,
        curvature=4.0,
        target_mass=1.0,
        over_segment=True,
        same_elsewhere=True,
    )
    assert bound.constants == {
        "ε": 0.5,
        "s": 0.5,
        "tr Σ": 2.0,
        "tr Σ̃": 3.0,
        "r²": 10.0,
        "‖∇ℓ‖": 0.25,
        "λ": 4.0,
        "E|Y|": 1.0,
    }
    assert bound.value == pytest.approx(0.25 * math.sqrt(10) + 20, rel=1e-14)
    assert [a.holds for a in bound.assumptions] == [True, None, True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -1.0}, "ε, the divergence .* is -1.0"),
        ({"trace_p": -1.0}, "trace of Σ is -1.0"),
        ({"gradient_norm": -1.0}, "norm of the gradient is -1.0"),
        ({"curvature": -1.0}, "curvature .* is -1.0"),
        ({"target_mass": -1.0}, r"E\|Y\|, the mean absolute target is -1.0"),
        ({"target_mass": math.nan}, r"E\|Y\|, the mean absolute target is nan"),
    ],
)
@pytest.mark.parametrize("form", [lemma_3_1.corrected, lemma_3_1.sharpened])
def test_nonsense_is_refused(form, change, message):
    arguments = GAUSSIAN | {"epsilon": 1.0, "gradient_norm": 0.0, "curvature": 1.0} | change
    with pytest.raises(TheoryError, match=message):
        form(**arguments)


@pytest.mark.parametrize(("which", "message"), [("largest_eigenvalue", "λ_max"), ("target_mass", r"E\[Y\]")])
def test_nonsense_in_the_printed_form_is_refused(which, message):
    arguments = GAUSSIAN | {"epsilon": 1.0, "largest_eigenvalue": 1.0} | {which: math.nan}
    with pytest.raises(TheoryError, match=f"{message}.* is nan; expected a finite number"):
        lemma_3_1.as_published(**arguments)
