"""Inputs that the fuzzer of the readers found to reach code of their own, and those that once broke a reader."""

from pathlib import Path

import pytest

from fuzzing.reader_inputs import checkpoint, read_or_refuse

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch warns of odd pickles before it refuses them
@pytest.mark.parametrize("kind", range(10))
def test_every_input_is_read_or_refused_in_one_line(tmp_path, kind):
    inputs = [data for file in CORPUS if (data := file.read_bytes())[0] % 10 == kind]
    outcomes = [read_or_refuse(checkpoint(data, tmp_path)) for data in inputs]
    # Every kind begins with a valid checkpoint and was changed into ones that are not.
    assert max(outcomes) >= 1
    assert min(outcomes) == -1


def test_the_corpus_stays_small():
    assert sum(file.stat().st_size for file in CORPUS) < 1_000_000
