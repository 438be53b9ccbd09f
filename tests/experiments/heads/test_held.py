"""Which folder heads are trained in, beside processes that are at work, and after processes that were killed."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from shrinkscope.errors import OutputError
from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.data import Arrays
from shrinkscope.experiments.heads.held import held
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.settings import StudyError
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.sweep import carry_out

pytestmark = pytest.mark.skipif(not sys.platform.startswith(("linux", "darwin")), reason="locks of POSIX")

FIRST, SECOND = [Cell(trial=1), Cell(trial=2)], [Cell(trial=3)]


def never(cell: Cell) -> bool:
    return False


_HOLDING = """
    import sys, time
    from pathlib import Path
    import msgspec
    from shrinkscope.experiments.heads.held import held
    from shrinkscope.experiments.records import Cell
    cells = msgspec.json.decode(sys.argv[2], type=list[Cell])
    with held(Path(sys.argv[1]), "pruned", cells, lambda cell: False):
        print("held", flush=True)
        time.sleep(600)
"""


@contextmanager
def at_work(folder: Path, cells: list[Cell]) -> Iterator[subprocess.Popen]:
    """Another process that trains some cells."""
    words = [sys.executable, "-c", textwrap.dedent(_HOLDING), str(folder), msgspec.json.encode(cells).decode()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_processes_with_other_cells_have_folders_of_their_own(tmp_path):
    with at_work(tmp_path, FIRST):
        with held(tmp_path, "pruned", SECOND, never) as (working, cells):
            assert cells == SECOND
            assert len(list(tmp_path.glob("heads-pruned-*"))) == 2
        assert not working.folder.exists()
        assert len(list(tmp_path.glob("heads-pruned-*"))) == 1


def test_cells_that_another_process_trains_are_refused_until_it_is_gone(tmp_path):
    with at_work(tmp_path, FIRST) as other:
        for wanted in (FIRST[:1], FIRST + SECOND):
            with (
                pytest.raises(StudyError, match=r"of these cells, such as .*, are being trained by another process in"),
                held(tmp_path, "pruned", wanted, never),
            ):
                pass
        with held(tmp_path, "dense", FIRST, never):  # of another kind
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        # The lock went with the process; its folder is taken up, all of its cells with it.
        with held(tmp_path, "pruned", FIRST[:1], never) as (_, cells):
            assert cells == FIRST
    assert [path.name for path in tmp_path.iterdir()] == ["heads.lock"]


def left_behind(folder: Path, cells: list[Cell]) -> Path:
    with pytest.raises(KeyboardInterrupt), held(folder, "pruned", cells, never) as (working, _):
        raise KeyboardInterrupt
    assert working.folder.is_dir()
    return working.folder


@pytest.mark.parametrize(
    ("before", "wanted", "finished", "kept"),
    [
        (FIRST, FIRST, False, "taken up"),
        (FIRST, FIRST[1:], False, "taken up"),  # the first was finished before the kill
        (FIRST, FIRST + SECOND, False, "removed"),  # training some of them anew needs them all
        (FIRST, SECOND, False, "waits"),  # it is of another --only
        (FIRST, SECOND, True, "removed"),  # killed while tidying up
    ],
)
def test_what_was_left_behind_is_taken_up_or_removed_or_waits(tmp_path, before, wanted, finished, kept):
    folder = left_behind(tmp_path, before)
    with held(tmp_path, "pruned", wanted, lambda cell: finished) as (working, cells):
        assert (working.folder == folder, folder.exists()) == {
            "taken up": (True, True),
            "removed": (False, False),
            "waits": (False, True),
        }[kept]
        assert cells == (before if kept == "taken up" else wanted)
    assert folder.exists() == (kept == "waits")


def test_a_folder_without_a_list_of_cells_is_removed(tmp_path):
    (tmp_path / "heads-pruned").mkdir()
    (tmp_path / "heads-pruned" / "epoch-0000.safetensors").write_bytes(b"")
    with held(tmp_path, "pruned", FIRST, never):
        assert not (tmp_path / "heads-pruned").exists()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "heads.lock").mkdir()
    with pytest.raises(OutputError, match="cannot train heads in"), held(tmp_path, "pruned", FIRST, never):
        pass


_RUNNING = """
    import os, signal, sys
    from pathlib import Path
    import msgspec
    from shrinkscope.experiments.config import Study
    from shrinkscope.experiments.plan import plan_study
    from shrinkscope.experiments.sweep import carry_out
    study, (folder, only, ending) = msgspec.json.decode(sys.argv[1], type=Study), sys.argv[2:]

    def tell(progress):
        stage = progress.stage
        if ending == "deadly" and stage is not None and "2 last layers" in stage.what and stage.done >= 3:
            os.kill(os.getpid(), signal.SIGKILL)
    failures = carry_out([plan_study(study, Path(folder), only=only)], workers=1, progress=tell)
    print(failures)
    sys.exit(bool(failures))
"""


@pytest.fixture
def study(tmp_path) -> Study:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 48)
    pixels = (draw.integers(0, 128, (48, 16, 16, 3)) + 40 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels, y=labels)
    training = Training(epochs=5, batch_size=16, learning_rate=0.05)
    return Study(
        name="two",
        network="resnet20",
        data=Arrays(root=str(tmp_path), train="images.npz", test="images.npz"),
        training=training,
        finetuning=training,
        trained="last",
        trials=2,
        methods=("lowest", "random"),
        levels=(0.3,),
        latents=("gaussian",),
        curvature_samples=0,
        iterations=False,
    )


def test_two_commands_at_once_and_one_of_them_killed_leave_the_numbers_of_one(study, tmp_path):
    """Both run side by side on the same folder; the killed one resumes, and nothing of either is left over."""
    folder, whole = tmp_path / "two", tmp_path / "whole"
    assert carry_out([plan_study(study, whole)], workers=1, stop=True) == []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    text = msgspec.json.encode(study).decode()

    def start(trial: int, ending: str) -> subprocess.Popen:
        words = [sys.executable, "-c", textwrap.dedent(_RUNNING), text, str(folder), f"trial-{trial}/*", ending]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    both = start(1, "deadly"), start(2, "harmless")
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [-signal.SIGKILL, 0], said
    run = plan_study(study, folder).networks
    assert len(list(run.glob("heads-pruned-*"))) == 1  # of the killed one
    again = start(1, "harmless")
    assert (again.communicate()[0], again.returncode) == ("[]\n", 0)
    assert not list(run.glob("heads-*"))
    tables = []
    for place in (folder, whole):
        with Store(place, create=False) as store:
            tables.append(store.records().drop(columns="run"))
    keys = ["trial", "scope", "method", "level", "epoch", "layer", "metric"]
    merged = tables[0].merge(tables[1], on=keys, suffixes=("", "_whole"))
    assert len(merged) == len(tables[0]) == len(tables[1])
    # One trial or two in a product round differently: float32, ten steps.
    pd.testing.assert_series_equal(merged["value"], merged["value_whole"], check_names=False, rtol=1e-4, atol=1e-5)
