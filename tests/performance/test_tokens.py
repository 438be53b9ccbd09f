"""Distances a token between language models: the definitions, chunk by chunk, and what is refused."""

import math

import pytest
import torch

from references import predictive as reference
from shrinkscope.errors import DataError
from shrinkscope.performance import categorical
from shrinkscope.performance.tokens import sequence_distances


def logits(seed: int, shape: tuple[int, ...] = (3, 4, 5), dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


COUNTS = torch.tensor([[True, True, True, True], [True, True, False, False], [False, False, False, True]])


def test_each_sequence_has_the_mean_over_its_own_positions():
    dense, compressed = logits(0), logits(1)
    found = sequence_distances(dense, compressed, COUNTS)
    for index in range(3):
        rows = [
            (dense[index, position].tolist(), compressed[index, position].tolist())
            for position in range(4)
            if COUNTS[index, position]
        ]
        kl = sum(float(reference.kl(p, q)) for p, q in rows) / len(rows)
        total_variation = sum(float(reference.total_variation(p, q)) for p, q in rows) / len(rows)
        differ = sum(p.index(max(p)) != q.index(max(q)) for p, q in rows) / len(rows)
        # Rounding of sums of twenty terms of size up to 20.
        assert float(found.kl[index]) == pytest.approx(kl, rel=1e-13, abs=1e-14)
        assert float(found.total_variation[index]) == pytest.approx(total_variation, rel=1e-13, abs=1e-15)
        assert float(found.disagreement[index]) == pytest.approx(differ, rel=1e-15)


def test_positions_that_do_not_count_may_hold_anything():
    dense, compressed = logits(0), logits(1)
    expected = sequence_distances(dense, compressed, COUNTS)
    dense[~COUNTS] = math.nan
    found = sequence_distances(dense, compressed, COUNTS)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("scores", [1, 7, 20, 59])
def test_any_chunking_gives_the_same_values(scores, monkeypatch):
    dense, compressed = logits(0), logits(1)
    whole = sequence_distances(dense, compressed, COUNTS)
    monkeypatch.setattr(categorical, "CHUNK_SCORES", scores)
    parts = sequence_distances(dense, compressed, COUNTS)
    assert all(torch.equal(a, b) for a, b in zip(parts, whole, strict=True))


def test_no_double_copy_of_all_scores_exists(monkeypatch):
    seen = []
    softmax = torch.log_softmax
    monkeypatch.setattr(torch, "log_softmax", lambda rows, dim: seen.append(rows.numel()) or softmax(rows, dim=dim))
    shape = (2, 40, 50_000)
    dense, compressed = logits(0, shape, torch.float32), logits(1, shape, torch.float32)
    sequence_distances(dense, compressed, torch.ones(shape[:2], dtype=torch.bool))
    assert sum(seen) == 2 * dense.numel()
    assert max(seen) <= categorical.CHUNK_SCORES < dense.numel() / 3


def test_a_token_that_both_exclude_adds_nothing():
    dense, compressed = logits(0), logits(1)
    expected = sequence_distances(dense, compressed, COUNTS)
    closed = torch.full((3, 4, 1), -math.inf, dtype=torch.float64)
    found = sequence_distances(torch.cat([dense, closed], 2), torch.cat([compressed, closed], 2), COUNTS)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def with_entry(value: float) -> torch.Tensor:
    changed = logits(1)
    changed[0, 0, 0] = value
    return changed


@pytest.mark.parametrize(
    ("dense", "compressed", "counts", "message"),
    [
        (logits(0, (3, 5)), logits(1), COUNTS, r"dense returned shape \(3, 5\) of type torch.float64; expected logits"),
        (
            logits(0),
            logits(1, (3, 4, 6)),
            COUNTS,
            r"\(3, 4, 5\) and compressed \(3, 4, 6\); expected the same positions",
        ),
        (logits(0), logits(1), COUNTS.int(), r"the mask has shape \(3, 4\) and type torch.int32 .*; expected a bool"),
        (logits(0), logits(1), COUNTS[:, :3], r"the mask has shape \(3, 3\)"),
        (logits(0), logits(1), COUNTS & COUNTS[1], "sequence 2 of a batch has no position that counts"),
        (logits(0), with_entry(math.nan), COUNTS, "compressed returned NaN or infinite logits at 1 positions"),
        (logits(0), with_entry(math.inf), COUNTS, "compressed returned NaN or infinite logits at 1 positions"),
        (
            logits(0),
            with_entry(-math.inf),
            COUNTS,
            "the KL is infinite at 1 positions: compressed gives −inf to tokens",
        ),
        (logits(0).softmax(2), logits(1), COUNTS, "every output of dense is a row of probabilities"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(dense, compressed, counts, message):
    with pytest.raises(DataError, match=message):
        sequence_distances(dense, compressed, counts)
