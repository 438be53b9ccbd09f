"""One tally for every kind of output: sample by sample what the functions of each kind give, in any batches."""

import pytest
import torch

from shrinkscope.errors import DataError
from shrinkscope.performance import PredictionTally, PredictiveTally, Reading, divergence_of
from shrinkscope.performance.regression import gaussian_distances
from shrinkscope.performance.tokens import sequence_distances


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    dense, moved = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return dense, dense + 0.5 * moved


def tallied(reading: Reading, dense, compressed, size: int, counts=None):
    tally = PredictiveTally(reading)
    for start in range(0, len(dense), size):
        part = slice(start, start + size)
        tally.add(dense[part], compressed[part], None if counts is None else counts[part])
    return tally.distances()


@pytest.mark.parametrize("size", [1, 4, 11])
def test_classes_keep_what_the_tally_of_classifiers_finds(size):
    dense, compressed = pair(11, 3)
    expected = PredictionTally()
    expected.add(dense, compressed)
    found, each = tallied(Reading(), dense, compressed, size), expected.predictions()
    assert (found.kind, found.samples, found.classes, found.positions, found.scale) == ("classes", 11, 3, None, None)
    assert torch.equal(found.kl, each.kl)
    assert torch.equal(found.total_variation, each.total_variation)
    assert torch.equal(found.disagreement, each.disagrees.double())
    assert divergence_of(found).kl.unit == "nats"


@pytest.mark.parametrize("size", [1, 4, 11])
def test_tokens_are_averaged_a_sequence(size):
    dense, compressed = pair(11, 5, 7)
    counts = torch.rand(11, 5, generator=torch.Generator().manual_seed(0)) < 0.6
    counts[:, 0] = True
    found, each = tallied(Reading(), dense, compressed, size, counts), sequence_distances(dense, compressed, counts)
    assert (found.kind, found.samples, found.classes, found.positions) == ("tokens", 11, 7, int(counts.sum()))
    assert torch.equal(found.kl, each.kl)
    assert torch.equal(found.disagreement, each.disagreement)
    assert divergence_of(found).kl.unit == "nats per token"


def test_numbers_have_a_scale_and_no_disagreement():
    dense, compressed = pair(11, 2)
    found, each = tallied(Reading(scale=0.7), dense, compressed, 4), gaussian_distances(dense, compressed, 0.7)
    assert (found.kind, found.scale, found.disagreement, found.classes) == ("regression", 0.7, None, None)
    assert torch.equal(found.total_variation, each.total_variation)
    assert divergence_of(found).disagreement is None


def test_padding_tells_which_positions_count():
    ids = torch.tensor([[4, 5, 0], [6, 0, 0]])
    assert Reading(padding=0).counts(ids).tolist() == [[True, True, False], [True, False, False]]
    assert Reading().counts(ids) is None


def test_a_batch_holds_as_many_sequences_as_make_two_thousand_tokens():
    ids, images = torch.zeros(3, 100, dtype=torch.int64), torch.zeros(3, 1, 8, 8)
    assert Reading().inputs_a_batch(ids, 512) == 20
    assert Reading(kind="classes").inputs_a_batch(ids, 512) == 512
    assert Reading(kind="tokens").inputs_a_batch(ids.float(), 512) == 20
    assert Reading().inputs_a_batch(images, 256) == Reading().inputs_a_batch([ids], 256) == 256


def test_what_contradicts_itself_is_refused():
    with pytest.raises(DataError, match="no input; give at least one"):
        PredictiveTally(Reading()).distances()
    with pytest.raises(DataError, match="kind = 'numbers'; expected classes, tokens or regression"):
        PredictiveTally(Reading(kind="numbers"))
    with pytest.raises(DataError, match="scale = 2.0 belongs to a regression; leave it out for tokens"):
        PredictiveTally(Reading(kind="tokens", scale=2.0))
    with pytest.raises(DataError, match="a regression needs the standard deviation"):
        PredictiveTally(Reading(kind="regression")).add(*pair(3, 2))
    with pytest.raises(DataError, match="the outputs are classes: give neither"):
        PredictiveTally(Reading()).add(*pair(3, 2), torch.ones(3, 1, dtype=torch.bool))
    with pytest.raises(DataError, match="a vocabulary of 7 before and of 6 now"):
        tally = PredictiveTally(Reading())
        tally.add(*pair(2, 3, 7))
        tally.add(*pair(2, 3, 6))
