"""The random Hadamard operator: the matrix that it stands for, orthogonality at every size, determinism, memory."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from references.hadamard import dense_transpose, signs_of_words
from shrinkscope.divergence.covariance import Equal, Isotropic, PowerLaw, RandomEigenvectors, Rotated, Uniform
from shrinkscope.divergence.covariance.hadamard import BLOCK, RandomHadamard, block_strides, random_orthogonal
from shrinkscope.errors import DivergenceError

# 18 rounds of sums of 32 terms: errors of a few units in the last place of the vector's norm.
ROUNDING = 1e-13


def operator(dim: int, seed: int = 0, block: int = 16) -> RandomHadamard:
    return RandomHadamard(dim, torch.Generator().manual_seed(seed), block=block)


def normals(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(rotation: RandomHadamard) -> np.ndarray:
    rounds = []
    for step in rotation.rounds:
        signs = None
        if step.key is not None:
            words = torch.empty(-(-rotation.dim // 64), dtype=torch.int64)
            words.random_(-(2**63), None, generator=torch.Generator().manual_seed(step.key))
            signs = signs_of_words(words.numpy(), rotation.dim)
        rounds.append((step.matrix.numpy(), step.outer, step.stride, step.start, signs))
    return dense_transpose(rotation.dim, rounds)


@pytest.mark.parametrize(("dim", "block"), [(64, 16), (79, 16), (131, 16), (257, 32), (263, 64)])
def test_it_is_the_product_of_its_rounds(dim, block):
    rotation = operator(dim, block=block)
    dense = reference(rotation)
    x = normals(3, dim)
    turned = x.numpy().astype(np.longdouble) @ dense.T
    np.testing.assert_allclose(rotation.transpose(x).numpy(), turned.astype(np.float64), atol=ROUNDING)
    np.testing.assert_allclose(
        rotation.apply(x).numpy(), (x.numpy().astype(np.longdouble) @ dense).astype(np.float64), atol=ROUNDING
    )


@pytest.mark.parametrize("spectrum", [Equal(value=0.01), Uniform(), PowerLaw(exponent=2.0), "own"])
@pytest.mark.parametrize("dim", [131, 257])
def test_the_quadratic_form_agrees_with_the_dense_matrix(dim, spectrum):
    spectrum = torch.logspace(-3, 3, dim, dtype=torch.float64) if spectrum == "own" else spectrum
    rotation = operator(dim)
    covariance = Rotated(rotation, spectrum, scale=0.1)
    delta = normals(dim)
    turned = reference(rotation) @ delta.numpy().astype(np.longdouble)
    expected = float(np.sum(turned**2 / covariance.variances.numpy().astype(np.longdouble)))
    # Positive terms: the relative error of the sum is at most that of a term, a few hundred units in the last place
    # where (Vᵀx)ᵢ is small against |x|; 1e-12 is what the dense product in float64 would reach too.
    assert float(covariance.quadratic(delta)) == pytest.approx(expected, rel=1e-12)


def test_with_equal_eigenvalues_the_rotation_changes_nothing():
    x = normals(2, 1009)
    form = Rotated(random_orthogonal(1009, torch.Generator().manual_seed(3)), Equal(value=2.0), scale=1.5).quadratic(x)
    torch.testing.assert_close(form, Isotropic(1009, 3.0).quadratic(x), rtol=1e-13, atol=0)


@given(dim=st.integers(1, 3000), seed=st.integers(0, 2**62))
@settings(max_examples=60)
def test_any_dimension_gives_an_orthogonal_matrix(dim, seed):
    rotation = random_orthogonal(dim, torch.Generator().manual_seed(seed))
    x, y = normals(2, dim)
    torch.testing.assert_close(rotation.transpose(x).norm(), x.norm(), rtol=ROUNDING, atol=0)
    torch.testing.assert_close(rotation.transpose(rotation.apply(x)), x, rtol=0, atol=20 * ROUNDING)
    torch.testing.assert_close(rotation.apply(rotation.transpose(x)), x, rtol=0, atol=20 * ROUNDING)
    # The transpose is the adjoint, and both are linear.
    product = torch.dot(rotation.apply(x), y) - torch.dot(x, rotation.transpose(y))
    assert abs(float(product)) < ROUNDING * float(x.norm() * y.norm())
    combined = rotation.transpose(2.0 * x - 3.0 * y)
    torch.testing.assert_close(
        combined, 2.0 * rotation.transpose(x) - 3.0 * rotation.transpose(y), rtol=0, atol=100 * ROUNDING
    )


@given(dim=st.integers(128, 400), seed=st.integers(0, 1000), block=st.sampled_from([16, 32]))
@settings(max_examples=20)
def test_its_columns_are_orthonormal(dim, seed, block):
    columns = operator(dim, seed, block).transpose(torch.eye(dim, dtype=torch.float64))
    torch.testing.assert_close(columns @ columns.mT, torch.eye(dim, dtype=torch.float64), rtol=0, atol=ROUNDING)


@given(dim=st.integers(256, 10**11), block=st.sampled_from([16, 32, 64]))
def test_every_stride_fits_and_reaches_the_next(dim, block):
    cuts = block_strides(dim, block)
    assert cuts[0][1] == 1
    assert cuts[-1] == (1, dim // block)
    for outer, stride in cuts:
        left_out = dim - outer * block * stride
        assert 0 <= left_out < block * min(outer, stride)
    # A round mixes positions up to block strides apart: the next stride must not be further than that.
    for (_, near), (_, far) in pairwise(cuts):
        assert near < far <= block * near


def test_the_same_seed_gives_the_same_matrix_and_another_seed_another():
    x = normals(1000)
    one, again, other = (operator(1000, seed).transpose(x) for seed in (7, 7, 8))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)


def test_applying_it_draws_nothing_further():
    generator = torch.Generator().manual_seed(7)
    rotation = RandomHadamard(1000, generator, block=16)
    state = generator.get_state()
    x = normals(1000)
    assert torch.equal(rotation.transpose(x), rotation.transpose(x))
    assert torch.equal(generator.get_state(), state)


def test_vectors_are_rotated_one_by_one_and_kept_as_they_are():
    x = normals(2, 3, 4001)
    before = x.clone()
    rotation = operator(4001, block=32)
    together = rotation.transpose(x)
    assert torch.equal(x, before)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(together[i, j], rotation.transpose(x[i, j]), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("piece", [2**6, 2**9])
def test_the_size_of_the_pieces_does_not_matter(monkeypatch, piece):
    # A round over pieces of any size is the same products; only the order of their sums may differ.
    x = normals(2, 5003)
    whole = operator(5003, block=16).transpose(x)
    monkeypatch.setattr("shrinkscope.divergence.covariance.hadamard._PIECE", piece)
    torch.testing.assert_close(operator(5003, block=16).transpose(x), whole, rtol=0, atol=ROUNDING)


def test_it_is_differentiable():
    rotation = operator(70)
    x = normals(70).requires_grad_()
    for action in (rotation.transpose, rotation.apply, Rotated(rotation, PowerLaw()).quadratic):
        assert gradcheck(action, (x,))
        assert gradgradcheck(action, (x,))


def test_float32_vectors_are_rotated_in_float64():
    x = normals(300).to(torch.float32)
    assert torch.equal(operator(300).transpose(x), operator(300).transpose(x.to(torch.float64)))


def test_small_dimensions_are_the_papers_construction():
    assert isinstance(random_orthogonal(4 * BLOCK - 1, torch.Generator()), RandomEigenvectors)
    assert isinstance(random_orthogonal(4 * BLOCK, torch.Generator()), RandomHadamard)


MEMORY = """
import torch
from shrinkscope.divergence.covariance import PowerLaw, Rotated
from shrinkscope.divergence.covariance.hadamard import random_orthogonal
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
Rotated(random_orthogonal(2**12, torch.Generator()), PowerLaw()).quadratic(torch.ones(2**12, dtype=torch.float64))
dim = 12_000_017
x = torch.ones(dim, dtype=torch.float64)
before = peak()
Rotated(random_orthogonal(dim, torch.Generator()), PowerLaw()).quadratic(x)
print((peak() - before) / (8 * dim))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident memory from /proc")
def test_memory_is_a_few_vectors():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    # The spectrum and the rotated vector stay; setting up the spectrum has two or three copies for a moment.
    assert float(done.stdout) < 4


def test_a_dimension_of_less_than_four_blocks_is_refused():
    with pytest.raises(DivergenceError, match=r"dimension 127 .* at least 128 \(4 blocks of 32\)"):
        RandomHadamard(127, torch.Generator())


@pytest.mark.parametrize("block", [0, 8, 24])
def test_a_block_that_is_no_power_of_two_is_refused(block):
    with pytest.raises(
        DivergenceError, match=f"block {block} of a random Hadamard operator; expected a power of two from 16"
    ):
        RandomHadamard(1000, torch.Generator(), block=block)


def test_a_dimension_below_one_is_refused():
    with pytest.raises(DivergenceError, match="dimension 0 of a random orthogonal matrix"):
        random_orthogonal(0, torch.Generator())
