"""What ends a cell: memory that is not there, as one line; anything else as it is."""

import re

import pytest
import torch

from shrinkscope.experiments.executor import memory_errors, one_thread
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.settings import StudyError

CELL = Cell(trial=2, scope="last", method="lowest", level=0.3)
REMEDY = "; give a smaller batch_size, fewer workers, or another --device"


def test_a_machine_without_memory_is_one_line():
    # The real thing: no machine has 400 TB.
    with (
        pytest.raises(
            StudyError, match=r"^trial 2, last layer, lowest 30 %: .*can't allocate memory.*; give a"
        ) as told,
        memory_errors(CELL),
    ):
        torch.empty(10**14)
    assert str(told.value).endswith(REMEDY)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory"),
        (MemoryError("Unable to allocate 3 GiB"), "Unable to allocate 3 GiB"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee"), "CUDA out of memory. Tried to"),
    ],
)
def test_a_device_without_memory_is_one_line(error, said):
    with pytest.raises(StudyError, match=f"^trial 2, last layer, lowest 30 %: {re.escape(said)}"), memory_errors(CELL):
        raise error


def test_other_failures_stay_what_they_are():
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"), memory_errors(CELL):
        torch.mm(torch.ones(2, 3), torch.ones(2, 3))


def test_threads_are_put_back(monkeypatch):
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stop"), one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("stop")
    assert torch.get_num_threads() == before
