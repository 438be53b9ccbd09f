"""Whole studies: the same numbers however many workers, and after any interruption."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pandas as pd
import pytest
import torch

from shrinkscope.errors import OutputError, StoreError
from shrinkscope.experiments import runner
from shrinkscope.experiments.config import Study, encode, identity
from shrinkscope.experiments.provenance import new_run
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.runner import Outcome, Progress, run_study
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.study import StudyError

CELLS = 1 + 8  # one dense network, two scopes × two methods × two levels

SCRIPT = """
import sys
import msgspec
from shrinkscope.experiments.config import Study
from shrinkscope.experiments.runner import run_study

study = msgspec.json.decode(sys.argv[1], type=Study)
run_study(study, sys.argv[2], workers=2, progress=lambda progress: print(progress.done, flush=True))
"""


def table(outcome: Outcome) -> pd.DataFrame:
    with Store(outcome.store, create=False) as store:
        return store.records(outcome.run)


def networks(outcome: Outcome) -> dict[str, bytes]:
    # A kill in the middle of a write leaves its temporary file behind, whose name begins with a dot.
    files = sorted(file for file in outcome.networks.rglob("*.safetensors") if not file.name.startswith("."))
    return {str(file.relative_to(outcome.networks)): file.read_bytes() for file in files}


def worker_processes(parent: int) -> list[int]:
    """Worker processes of one parent, found in /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            own_parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if own_parent == parent and b"shrinkscope.experiments.worker" in command:
            found.append(int(entry.name))
    return found


def alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def inline(tiny, tmp_path_factory) -> Outcome:
    return run_study(tiny, tmp_path_factory.mktemp("inline"), workers=1)


def test_a_study_is_complete_and_described(inline, tiny):
    assert (inline.cells, inline.resumed) == (CELLS, 0)
    assert len(networks(inline)) == CELLS
    records = table(inline)
    assert set(records["epoch"]) == {0, 1, 2}
    # Four rows of weights with five metrics and eight of performance, at three epochs of eight prunings; one dense.
    # On the way to the last epoch two ε and one bound a latent: for the network, and ε for each layer that is trained.
    followed = 4 * 3 * 2 * (2 * 2 + 1) + 4 * 3 * 2 * (4 * 2 + 1)
    assert len(records) == 8 * 3 * (4 * 5 + 8) + 4 + followed
    with Store(inline.store, create=False) as store:
        (run,) = store.runs()
    assert msgspec.json.decode(run.config, type=Study) == tiny
    assert (run.run, run.config_hash, run.config, run.seed) == (inline.run, identity(tiny), encode(tiny), tiny.seed)
    assert msgspec.json.decode(run.versions)["torch"] == torch.__version__.partition("+")[0]


def test_workers_give_the_same_numbers_and_networks_bit_by_bit(inline, tiny, tmp_path):
    seen: list[Progress] = []
    parallel = run_study(tiny, tmp_path, workers=2, progress=seen.append)
    seen = [progress for progress in seen if progress.stage is None]  # epochs are told where they take long
    pd.testing.assert_frame_equal(table(parallel), table(inline), check_exact=True)
    assert networks(parallel) == networks(inline)
    assert [progress.done for progress in seen] == list(range(CELLS + 1))
    assert {progress.total for progress in seen} == {CELLS}
    assert (seen[0].remaining, seen[0].cell, seen[1].cell) == (None, None, Cell(trial=1))
    assert all(progress.remaining is not None and progress.remaining > 0 for progress in seen[1:-1])
    assert seen[-1].remaining == 0
    assert [progress.elapsed for progress in seen] == sorted(progress.elapsed for progress in seen)


def test_workers_find_the_same_curvature(tiny, tmp_path):
    study = msgspec.structs.replace(
        tiny, trials=2, methods=("lowest",), levels=(0.3,), scopes=("all",), curvature_samples=64
    )
    alone = run_study(study, tmp_path / "alone", workers=1)
    pd.testing.assert_frame_equal(table(run_study(study, tmp_path / "two", workers=2)), table(alone), check_exact=True)
    bounds = table(alone).query("metric.str.startswith('bound_')")
    assert bounds["value"].notna().any()


def test_threads_of_the_caller_stay_and_do_not_matter(inline, tiny, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again = run_study(tiny, tmp_path, workers=1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    pd.testing.assert_frame_equal(table(again), table(inline), check_exact=True)


def test_a_finished_study_is_not_computed_again(inline, tiny):
    before = {path: path.stat().st_mtime_ns for path in inline.networks.rglob("*.safetensors")}
    seen: list[Progress] = []
    again = run_study(tiny, inline.store.parent, progress=seen.append)
    assert (again.run, again.resumed, again.cells) == (inline.run, CELLS, CELLS)
    assert [(progress.done, progress.total) for progress in seen] == [(CELLS, CELLS)]
    assert before == {path: path.stat().st_mtime_ns for path in inline.networks.rglob("*.safetensors")}


def test_a_deleted_network_is_made_again_and_fresh_begins_anew(inline, tiny, tmp_path):
    first = run_study(tiny, tmp_path, workers=1)
    (first.networks / "trial-1" / "last-random-0.8.safetensors").unlink()
    assert run_study(tiny, tmp_path, workers=1).resumed == CELLS - 1
    assert networks(first) == networks(inline)
    assert run_study(tiny, tmp_path, workers=1, fresh=True).resumed == 0
    pd.testing.assert_frame_equal(table(first), table(inline), check_exact=True)


def test_another_study_in_the_same_folder_is_another_run(inline, tiny, tmp_path):
    first = run_study(tiny, tmp_path, workers=1)
    other = run_study(msgspec.structs.replace(tiny, seed=2), tmp_path, workers=1)
    assert other.run != first.run
    assert other.resumed == 0
    with Store(first.store, create=False) as store:
        assert {run.run for run in store.runs()} == {first.run, other.run}
    pd.testing.assert_frame_equal(table(first), table(inline), check_exact=True)
    assert networks(first) == networks(inline)


@needs_proc
@pytest.mark.parametrize(("end", "after"), [(signal.SIGKILL, 1), (signal.SIGKILL, 4), (signal.SIGINT, 3)])
def test_ended_at_any_moment_it_resumes_to_the_same_numbers(inline, tiny, tmp_path, end, after):
    # From standard input on purpose: worker processes must not need a main module that can be imported.
    command = [sys.executable, "-", encode(tiny), str(tmp_path)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(SCRIPT)
    process.stdin.close()
    for line in process.stdout:
        if int(line) == after:
            break
    workers = worker_processes(process.pid)
    assert len(workers) == 2
    process.send_signal(end)
    process.wait(timeout=60)
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    deadline = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))  # nobody goes on computing for a caller that is gone
    resumed = run_study(tiny, tmp_path, workers=1)
    assert after <= resumed.resumed <= CELLS  # all, if the end came after the last on a busy machine
    pd.testing.assert_frame_equal(table(resumed), table(inline), check_exact=True)
    assert networks(resumed) == networks(inline)


@needs_proc
def test_a_worker_that_dies_is_named_with_its_cell(tiny, tmp_path):
    def kill(progress: Progress) -> None:
        if progress.done == 1:
            for worker in worker_processes(os.getpid()):
                os.kill(worker, signal.SIGKILL)

    with pytest.raises(
        StudyError, match=r"worker process was killed by signal 9 in trial 1, .*; finished cells are kept, run the same"
    ):
        run_study(tiny, tmp_path, workers=2, progress=kill)
    assert worker_processes(os.getpid()) == []
    assert run_study(tiny, tmp_path, workers=1).resumed >= 1


def test_an_error_in_a_worker_arrives_as_its_one_line(tiny, tmp_path):
    study = msgspec.structs.replace(tiny, trials=2, minimum_accuracy=1.0)
    with pytest.raises(StudyError, match=r"^the dense network of trial [12] has .* below the 100 %"):
        run_study(study, tmp_path, workers=2)
    assert worker_processes(os.getpid()) == []


def test_impossible_folders_are_one_line(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the store .*choose a folder that can be written"):
        run_study(tiny, tmp_path / "file", workers=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "networks").write_text("")
    with pytest.raises(OutputError, match="cannot write .*dense.*safetensors"):
        run_study(tiny, tmp_path / "out", workers=1)


def test_a_runs_key_follows_the_study_and_the_versions_and_not_the_hour(tiny):
    first, again = new_run(tiny), new_run(tiny)
    assert first.run == again.run
    assert first.run != new_run(msgspec.structs.replace(tiny, seed=2)).run
    assert set(msgspec.json.decode(first.versions)) == {
        "shrinkscope",
        "python",
        "torch",
        "numpy",
        "scipy",
        "scikit-learn",
    }
    assert f"{os.cpu_count()} cores" in first.hardware


@pytest.mark.parametrize(
    ("said", "workers", "threads"),
    [("", 1, 8), ("", 3, 2), ("", 9, 1), ("1", 1, 1), ("3,2", 1, 3), ("64", 2, 4), ("0", 2, 4), ("many", 2, 4)],
)
def test_each_worker_has_its_share_of_the_cores_or_fewer_if_told(said, workers, threads, monkeypatch):
    monkeypatch.setattr(runner, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert runner.threads_of_each(workers) == threads
