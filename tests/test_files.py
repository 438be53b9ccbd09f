"""Atomic writing: whole files or nothing."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shrinkscope.errors import OutputError
from shrinkscope.files import atomic_path, write_text
from shrinkscope.weights import save_tensors


def test_the_content_arrives_with_usual_permissions(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "héllo")
    path = tmp_path / "new" / "a.txt"
    assert path.read_text(encoding="utf-8") == "héllo"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_failure_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_a_one_line_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot write .*choose another place with --out"):
        write_text(tmp_path / "file" / "a.txt", "x")


FILL = """
import sys
from shrinkscope.errors import OutputError
try:
    {statement}
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "statement",
    [
        "from shrinkscope.files import write_text; write_text(sys.argv[1] + '/big.txt', 'x' * 10_000_000)",
        "import torch; from shrinkscope.weights import save_tensors; "
        "save_tensors(sys.argv[1] + '/big.safetensors', {'w': torch.zeros(4_000_000)})",
    ],
)
def test_a_full_disk_is_a_one_line_error_and_leaves_nothing(tmp_path, statement):
    # A limit on the size of files is met by the same system call as a full disk, and needs no disk of our own.
    import resource

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = [sys.executable, "-c", FILL.format(statement=statement), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cannot write ")
    assert done.stdout.count("\n") == 1
    assert list(Path(tmp_path).iterdir()) == []


def test_tensors_that_share_storage_are_saved(tmp_path):
    shared = torch.arange(4.0)
    save_tensors(tmp_path / "w.safetensors", {"a": shared, "b": shared[::2]}, {"made by": "a test"})
    from safetensors.torch import load_file

    loaded = load_file(tmp_path / "w.safetensors")
    assert torch.equal(loaded["b"], torch.tensor([0.0, 2.0]))
