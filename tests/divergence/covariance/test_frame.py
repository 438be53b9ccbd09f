"""The lazily drawn Haar frame: an isometry of the span, with the exact joint law."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from references.haar import log_ratios, squared_directions
from shrinkscope.divergence.covariance import HaarFrame, PowerLaw, RandomEigenvectors, Rotated
from shrinkscope.errors import DivergenceError


def normals(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(dim=st.integers(1, 60), count=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_lengths_and_angles_are_kept_on_the_span(dim, count, seed):
    vectors = normals(min(count, dim), dim, seed=seed)
    frame = HaarFrame(vectors, torch.Generator().manual_seed(seed))
    turned = frame.transpose(vectors)
    torch.testing.assert_close(turned @ turned.mT, vectors @ vectors.mT, rtol=0, atol=1e-11)
    torch.testing.assert_close(frame.apply(turned), vectors, rtol=0, atol=1e-11)


def test_vectors_that_depend_on_each_other_are_one_span():
    one = normals(50)
    frame = HaarFrame(torch.stack([one, 2 * one, torch.zeros(50, dtype=torch.float64)]), torch.Generator())
    assert float(frame.transpose(one).norm()) == pytest.approx(float(one.norm()), rel=1e-13)


def test_with_all_of_space_it_is_a_rotation_with_every_operation():
    frame = HaarFrame(torch.eye(6, dtype=torch.float64), torch.Generator().manual_seed(2))
    covariance, x = Rotated(frame, PowerLaw()), normals(3, 6)
    torch.testing.assert_close(covariance.solve(covariance.matmul(x)), x)


def test_the_law_is_that_of_the_papers_construction():
    # Five comparisons, each failing by chance with probability 1e-6 for the fixed seeds.
    dim, generator = 40, torch.Generator().manual_seed(3)
    vectors = torch.stack([torch.eye(dim, dtype=torch.float64)[0], normals(dim) / normals(dim).norm()])
    inverse = torch.arange(1, dim + 1, dtype=torch.float64)
    frames, papers = (
        np.array([(draw().transpose(vectors).square() @ inverse).numpy() for _ in range(1000)])
        for draw in (lambda: HaarFrame(vectors, generator), lambda: RandomEigenvectors(dim, generator))
    )
    exact = squared_directions(dim, 20_000, np.random.default_rng(1)) @ inverse.numpy()
    for i in range(2):
        assert kstest(frames[:, i], exact).pvalue > 1e-6
        assert kstest(frames[:, i], papers[:, i]).pvalue > 1e-6
    ratios = log_ratios(inverse.numpy(), float(vectors[0] @ vectors[1]), 20_000, np.random.default_rng(2))
    assert kstest(np.log(frames[:, 0] / frames[:, 1]), ratios).pvalue > 1e-6


def test_the_signs_of_its_directions_are_random():
    # LAPACK's QR alone would give the first coordinate of a one-dimensional frame always the same sign.
    generator = torch.Generator().manual_seed(4)
    one = torch.ones(1, 1, dtype=torch.float64)
    signs = {float(HaarFrame(one, generator).transpose(one)) for _ in range(64)}
    assert signs == {-1.0, 1.0}


def test_a_vector_outside_the_span_is_refused():
    frame = HaarFrame(normals(2, 10), torch.Generator())
    with pytest.raises(DivergenceError, match="a vector lies outside the span of the vectors"):
        frame.transpose(normals(10, seed=5))
    with pytest.raises(DivergenceError, match="a vector lies outside the frame"):
        frame.apply(normals(10, seed=5))


@pytest.mark.parametrize("shape", [(0, 10), (11, 10)])
def test_a_wrong_number_of_vectors_is_refused(shape):
    with pytest.raises(DivergenceError, match="for a Haar frame; expected"):
        HaarFrame(torch.ones(shape), torch.Generator())


def test_vectors_that_are_not_finite_are_refused():
    with pytest.raises(DivergenceError, match="infinite or NaN"):
        HaarFrame(torch.tensor([[1.0, torch.nan]]), torch.Generator())
