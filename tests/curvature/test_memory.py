import pytest
import torch

from shrinkscope.curvature import memory
from shrinkscope.curvature.memory import available_bytes, check_memory, readable
from shrinkscope.errors import CurvatureError


def test_the_memory_of_this_machine_is_known():
    found = available_bytes()
    assert found is not None
    assert 2**20 < found < 2**50


def test_meminfo_is_read_as_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:  37 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "none")
    assert available_bytes() == 37 * 1024


def test_without_meminfo_it_is_what_the_system_was_built_with(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "none")
    found = available_bytes()
    assert found is not None
    assert found > 2**20


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert available_bytes() == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes() > 2**20


def test_devices_that_do_not_tell_are_not_checked():
    assert available_bytes("meta") is None
    check_memory("x", 2**62, None, torch.device("meta"), "y")


def test_too_much_is_refused_with_bytes_and_advice():
    check_memory("a matrix", 2000, 2000, "cpu", "")
    with pytest.raises(
        CurvatureError,
        match=r"^a matrix needs about 2,000 bytes \(1.95 KiB\) and 1,999 bytes \(1.95 KiB\) are allowed by "
        r"memory_limit; take less$",
    ):
        check_memory("a matrix", 2000, 1999, "cpu", "take less")
    with pytest.raises(
        CurvatureError, match=r"needs about 1,152,921,504,606,846,976 bytes .* are available on cpu; take"
    ):
        check_memory("a matrix", 2**60, None, "cpu", "take less")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**20, "1 MiB"), (2**30, "1 GiB"), (2**41, "2 TiB")],
)
def test_bytes_are_readable(number, text):
    assert readable(number) == text
