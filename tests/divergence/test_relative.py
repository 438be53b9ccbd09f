"""One covariance seen from another: every pair of structures against dense matrices."""

import itertools

import pytest
import torch

from references.covariances import between, generator, normal, positive_definite
from shrinkscope.divergence.covariance import (
    Covariance,
    Dense,
    Diagonal,
    Isotropic,
    Kronecker,
    LowRankPlusDiagonal,
    RandomEigenvectors,
    Rotated,
    Uniform,
)
from shrinkscope.divergence.relative import register, relative_scale
from shrinkscope.divergence.relative_low_rank import LowRankRelative
from shrinkscope.divergence.relative_scale import Spectral
from shrinkscope.errors import DivergenceError

DIM = 12


def structures() -> dict[str, Covariance]:
    rng = generator(3)
    variances, factor, rotation = between(0.3, 2.0, DIM, rng=rng), normal(DIM, 2, rng=rng), RandomEigenvectors(DIM, rng)
    return {
        "isotropic": Isotropic(DIM, 0.7),
        "diagonal": Diagonal(variances),
        "low rank": LowRankPlusDiagonal(between(0.3, 2.0, DIM, rng=rng), normal(DIM, 3, rng=rng)),
        "low rank, proportional": LowRankPlusDiagonal(2 * variances, factor),
        "low rank, same diagonal": LowRankPlusDiagonal(variances, 0.3 * normal(DIM, 1, rng=rng)),
        "low rank, weak": LowRankPlusDiagonal(variances, 0.2 * factor),
        "rank zero": LowRankPlusDiagonal(variances, factor[:, :0]),
        "kronecker": Kronecker(positive_definite(4, rng), positive_definite(3, rng)),
        "kronecker, another": Kronecker(positive_definite(4, rng), positive_definite(3, rng)),
        "kronecker, other sizes": Kronecker(positive_definite(3, rng), positive_definite(4, rng)),
        "dense": Dense(positive_definite(DIM, rng)),
        "rotated": Rotated(rotation, Uniform(low=0.2, high=2.0)),
        "rotated, same axes": Rotated(rotation, between(0.2, 2.0, DIM, rng=rng), scale=0.5),
    }


ALL = structures()
PAIRS = [pytest.param(p, q, id=f"{p} from {q}") for p, q in itertools.product(ALL, ALL) if p != q]
NODES = torch.logspace(-8, 6, 15, dtype=torch.float64)


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_it_agrees_with_dense_eigenvalues(p, q):
    covariance_p, covariance_q = ALL[p], ALL[q]
    got = relative_scale(covariance_p, covariance_q)
    whitened = covariance_q.whiten(covariance_q.whiten(covariance_p.dense()).mT)
    eigenvalues, axes = torch.linalg.eigh((whitened + whitened.mT) / 2)
    mean = eigenvalues.mean()
    delta = normal(2, DIM, rng=generator(4))
    squares = (covariance_q.whiten(delta) @ axes).square()
    ratios = torch.outer(NODES, eigenvalues / mean)

    # Condition numbers are below 100: the eigenvalues here are good to 1e-14, and sums of a dozen logarithms to 1e-13.
    def close(expected: torch.Tensor) -> object:
        return pytest.approx(float(expected), rel=1e-11, abs=1e-12)

    assert got.dim == DIM
    assert got.mean_excess == close(mean - 1)
    assert got.remainder() == close((eigenvalues - 1 - eigenvalues.log()).sum())
    assert got.centred_remainder() == close((mean.log() - eigenvalues.log()).sum())
    expected = (ratios.log1p() - NODES.log1p().unsqueeze(-1)).sum(-1)
    torch.testing.assert_close(got.compression(NODES), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(got.resolvent(delta)(NODES), squares @ (1 / (1 + ratios)).mT, rtol=1e-11, atol=0)


def test_structures_are_used_and_not_dense_matrices():
    def kind(p: str, q: str) -> type:
        return type(relative_scale(ALL[p], ALL[q]))

    assert kind("low rank", "diagonal") is LowRankRelative
    assert kind("low rank, weak", "rank zero") is Spectral


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_nearly_equal_low_rank_covariances_lose_no_digits(size):
    rng = generator(5)
    variances, factor = between(0.5, 2.0, 700, rng=rng), normal(700, 3, rng=rng)
    change, turn = between(-1.0, 1.0, 700, rng=rng), normal(700, 3, rng=rng)
    q = LowRankPlusDiagonal(variances, factor)
    p = LowRankPlusDiagonal(variances * (1 + size * change), factor + size * turn)
    # To first order in size, R − I = W(vc + ft' + tf')W' for the whitening W of q; the remainder is ½ tr (R − I)².
    first = torch.diag(variances * change) + factor @ turn.mT + turn @ factor.mT
    first = q.whiten(q.whiten(first).mT)
    expected = float(first.square().sum()) / 2 * size**2
    # Higher orders are smaller by a few times size; rounding by ε/size, since variances are stored to ε.
    assert relative_scale(p, q).remainder() == pytest.approx(expected, rel=100 * size + 1e-14 / size)


def test_a_factor_turned_among_its_columns_is_recognised():
    rng = generator(6)
    variances, factor = between(0.5, 2.0, 50, rng=rng), normal(50, 3, rng=rng)
    turned = factor @ torch.linalg.qr(normal(3, 3, rng=rng)).Q
    p, q = LowRankPlusDiagonal(variances * (1 + 1e-6), turned), LowRankPlusDiagonal(variances, factor)
    # exactly D·1e-6 in units of q; the textbook difference of log-determinants would leave 1e-14/1e-11 of it
    shift = 1e-6 * q.whiten(q.whiten(torch.diag(variances)).mT)
    assert relative_scale(p, q).remainder() == pytest.approx(float(shift.square().sum()) / 2, rel=1e-5)


def test_a_strong_direction_of_either_covariance_keeps_its_digits():
    strong = LowRankPlusDiagonal(torch.ones(600, dtype=torch.float64), torch.full((600, 1), 1e5, dtype=torch.float64))
    weak = Diagonal(between(0.5, 2.0, 600, rng=generator(7)))
    # |I + 1e10·11'| = 1 + 6e12, and the inverse of it moves the trace by 1e10·v/(1 + 6e12) per coordinate
    log_det = float(torch.log(torch.tensor(1 + 6e12, dtype=torch.float64)) - weak.variances.log().sum())
    seen = float((1 / weak.variances).sum()) * (1 + 1e10)
    assert relative_scale(strong, weak).remainder() == pytest.approx(seen - 600 - log_det, rel=1e-12)
    back = float(weak.variances.sum()) * (1 - 1e10 / (1 + 6e12))
    # stated: ε√κ with κ = 6e12 for the covariance that is inverted, 5e-10
    assert relative_scale(weak, strong).remainder() == pytest.approx(back - 600 + log_det, rel=5e-10)


def test_a_million_dimensions_need_no_matrix():
    left, right = torch.eye(1000, dtype=torch.float64), 2 * torch.eye(1000, dtype=torch.float64)
    relative = relative_scale(Kronecker(left, right), Isotropic(1_000_000, 1.0))
    assert relative.mean_excess == pytest.approx(1.0, rel=1e-12)
    assert relative.centred_remainder() == pytest.approx(0.0, abs=1e-6)


def test_a_pair_of_a_user_is_used_where_it_applies():
    class Periodic(Diagonal):
        """Variances that repeat, so that two of equal period have few distinct ratios."""

        def __init__(self, period: torch.Tensor, repeats: int) -> None:
            super().__init__(period.repeat(repeats))
            self.period, self.repeats = period, repeats

    @register(Periodic, Periodic)
    def periodic(p: Periodic, q: Periodic) -> Spectral | None:
        if p.repeats != q.repeats:
            return None
        ratios = p.period / q.period

        def squares(delta: torch.Tensor) -> torch.Tensor:
            return q.whiten(delta).square().reshape(*delta.shape[:-1], q.repeats, -1).sum(-2)

        return Spectral(ratios - 1, ratios, squares, torch.full_like(ratios, q.repeats))

    rng = generator(8)
    p, q = (Periodic(between(0.5, 2.0, 6, rng=rng), 1000) for _ in range(2))
    plain = relative_scale(Diagonal(p.variances), Diagonal(q.variances))
    got, delta = relative_scale(p, q), normal(2, 6000, rng=rng)
    assert isinstance(got, Spectral)
    assert len(got.excess) == 6
    assert got.remainder() == pytest.approx(plain.remainder(), rel=1e-12)
    torch.testing.assert_close(got.resolvent(delta)(NODES), plain.resolvent(delta)(NODES), rtol=1e-12, atol=0)
    # where it does not apply, the next closest pair does: two diagonals, no dense matrix of 6,000 dimensions
    other = Periodic(between(0.5, 2.0, 12, rng=rng), 500)
    declined, expected = relative_scale(p, other), relative_scale(Diagonal(p.variances), Diagonal(other.variances))
    assert declined.remainder() == expected.remainder()


def test_other_dimensions_are_refused():
    with pytest.raises(DivergenceError, match="covariances of dimensions 3 and 4; expected equal dimensions"):
        relative_scale(Isotropic(3), Isotropic(4))


def test_large_pairs_without_common_structure_are_refused_with_a_list():
    kronecker = Kronecker(torch.eye(70), torch.eye(70))
    with pytest.raises(
        DivergenceError, match=r"no common structure.*4096 only; pairs that need none: .*Kronecker–Kronecker"
    ):
        relative_scale(kronecker, Diagonal(torch.ones(4900)))


def test_covariances_that_differ_beyond_the_range_of_numbers_are_refused():
    with pytest.raises(DivergenceError, match="differ by a factor between inf and inf"):
        relative_scale(Isotropic(3, 1e200), Isotropic(3, 1e-200))
