"""The store of records, with real files, real processes and real kills."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from shrinkscope.errors import OutputError, StoreError
from shrinkscope.experiments.exported import read_export
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.schema import APPLICATION, VERSION
from shrinkscope.experiments.store import Run, Store

KEYS = ["run", "trial", "scope", "method", "level", "epoch", "layer", "metric"]


def run_of(key: str = "r1", started: str = "2026-01-01T00:00:00+00:00") -> Run:
    return Run(run=key, config_hash="h", config="{}", versions="{}", seed=1, hardware="here", started=started)


def cell_of(trial: int = 1, method: str = "lowest", level: float = 0.3) -> Cell:
    return Cell(trial=trial, scope="all", method=method, level=level)


def records_of(count: int = 4) -> list[Record]:
    layers = ("zeta.weight", "alpha.weight", "")
    return [
        Record(epoch=epoch, layer=layer, metric="ap2", value=epoch + 0.1 * place, unit="weight²", status="exact")
        for epoch in range(count)
        for place, layer in enumerate(layers)
    ]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "deep" / "records.sqlite") as opened:
        opened.begin(run_of())
        yield opened


def test_what_is_written_is_read_back(store):
    estimate = Record(
        epoch=0, layer="", metric="pd_loss_test", value=1 / 3, unit="nats", status="estimate", standard_error=0.1
    )
    missing = Record(
        epoch=0, layer="fc.weight", metric="ap2", value=None, unit="weight²", status="exact", reason="all zero"
    )
    store.write_cell("r1", cell_of(), [estimate, missing], seconds=2.0)
    table = store.records()
    first, second = table.to_dict("records")
    assert [first[key] for key in KEYS] == ["r1", 1, "all", "lowest", 0.3, 0, "", "pd_loss_test"]
    assert (first["value"], first["unit"], first["status"], first["standard_error"]) == (1 / 3, "nats", "estimate", 0.1)
    assert np.isnan(second["value"])
    assert np.isnan(second["standard_error"])
    assert second["reason"] == "all zero"
    assert store.finished("r1") == {cell_of()}


def test_the_order_is_the_grids_and_the_networks_whoever_wrote_first(store, tmp_path):
    cells = [cell_of(trial, method) for trial in (1, 2) for method in ("lowest", "random")]
    with Store(tmp_path / "other.sqlite") as other:
        other.begin(run_of())
        for cell in cells:
            store.write_cell("r1", cell, records_of(), seconds=1.0)
        for cell in reversed(cells):
            other.write_cell("r1", cell, records_of(), seconds=1.0)
        pd.testing.assert_frame_equal(store.records(), other.records())
    assert list(store.records()["layer"].drop_duplicates()) == ["zeta.weight", "alpha.weight", ""]


def test_a_cell_written_again_replaces_itself(store):
    store.write_cell("r1", cell_of(), records_of(5), seconds=1.0)
    store.write_cell("r1", cell_of(), records_of(2), seconds=1.0)
    assert len(store.records()) == len(records_of(2))


def test_a_row_recorded_twice_leaves_the_store_as_it_was(store):
    store.write_cell("r1", cell_of(), records_of(1), seconds=1.0)
    with pytest.raises(StoreError, match="UNIQUE constraint failed"):
        store.write_cell("r1", cell_of(), records_of(3) + records_of(1), seconds=1.0)
    assert len(store.records()) == len(records_of(1))


def test_a_value_may_be_missing_only_with_a_reason(store):
    silent = Record(epoch=0, layer="", metric="ap2", value=None, unit="weight²", status="exact")
    with pytest.raises(StoreError, match="CHECK constraint failed"):
        store.write_cell("r1", cell_of(), [silent], seconds=1.0)


def test_runs_are_listed_oldest_first_and_begin_once(store):
    store.begin(run_of("r0", started="2025-01-01T00:00:00+00:00"))
    store.begin(run_of("r1", started="2030-01-01T00:00:00+00:00"))  # resumed: it keeps its beginning
    assert [(run.run, run.started[:4]) for run in store.runs()] == [("r0", "2025"), ("r1", "2026")]


def test_a_forgotten_run_takes_nothing_else_with_it(store):
    store.begin(run_of("r2"))
    for key in ("r1", "r2"):
        store.write_cell(key, cell_of(), records_of(), seconds=1.0)
    store.forget("r1")
    assert [run.run for run in store.runs()] == ["r2"]
    assert store.finished("r1") == set()
    assert set(store.records()["run"]) == {"r2"}


def test_records_of_an_unknown_run_name_those_that_exist(store):
    with pytest.raises(StoreError, match=r"holds no run r9; it holds r1"):
        store.records("r9")


def test_one_run_is_listed_alone_and_an_unknown_one_refused(store):
    store.begin(run_of("r2"))
    assert [run.run for run in store.runs("r2")] == ["r2"]
    with pytest.raises(StoreError, match=r"records.sqlite holds no run r9; it holds r1, r2$"):
        store.runs("r9")


def test_a_store_is_found_in_its_folder(store):
    for path in (store.path, store.path.parent):
        with Store(path, create=False) as opened:
            assert [run.run for run in opened.runs()] == ["r1"]
    with pytest.raises(StoreError, match="no such file; expected a store of records"):
        Store(store.path.parent.parent, create=False)


def test_records_need_a_run_that_has_begun(store):
    with pytest.raises(StoreError, match="FOREIGN KEY constraint failed"):
        store.write_cell("r9", cell_of(), records_of(), seconds=1.0)


@pytest.mark.parametrize(("suffix", "read"), [(".csv", pd.read_csv), (".parquet", pd.read_parquet)])
def test_export_holds_the_same_table(store, tmp_path, suffix, read):
    for method in ("lowest", "random"):
        store.write_cell("r1", cell_of(method=method), records_of(), seconds=1.0)
    store.export(tmp_path / f"out{suffix}", "r1")
    got, expected = read(tmp_path / f"out{suffix}"), store.records("r1")
    # CSV has no empty text beside a missing one; numbers must survive to the last bit in both formats.
    got["layer"] = got["layer"].fillna("")
    pd.testing.assert_frame_equal(got[[*KEYS, "value"]], expected[[*KEYS, "value"]], check_exact=True)


def test_parquet_keeps_the_runs_too(store, tmp_path):
    store.write_cell("r1", cell_of(), records_of(), seconds=1.0)
    store.begin(run_of("r2"))
    store.export(tmp_path / "out.parquet")
    runs, table = read_export(tmp_path / "out.parquet")
    assert runs == store.runs()
    pd.testing.assert_frame_equal(table[[*KEYS, "value"]], store.records()[[*KEYS, "value"]], check_exact=True)


def test_a_part_of_the_table_can_be_exported(store, tmp_path):
    store.write_cell("r1", cell_of(), records_of(), seconds=1.0)
    other = [msgspec.structs.replace(record, metric="pd_loss_test") for record in records_of()]
    store.write_cell("r1", cell_of(method="random"), other, seconds=1.0)
    store.export(tmp_path / "out.parquet", metrics=("pd_*",))
    found = read_export(tmp_path / "out.parquet")[1]
    assert set(found["metric"]) == {"pd_loss_test"}
    assert len(found) == len(other)
    store.export(tmp_path / "out.parquet", totals=True)
    found = read_export(tmp_path / "out.parquet")[1]
    assert set(found["layer"]) == {""}
    assert len(found) == 2 * len(other) / 3
    with pytest.raises(StoreError, match=r"^no metric is called zz\*; the records have ap2, pd_loss_test$"):
        store.export(tmp_path / "out.parquet", metrics=("zz*",))


def test_a_file_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"cannot read .*none.parquet: No such file"):
        read_export(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(StoreError, match=r"cannot read .*text.parquet: not a Parquet file"):
        read_export(tmp_path / "text.parquet")
    pd.DataFrame({"metric": ["ap2"]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(StoreError, match=r"other.parquet is no export of a store: it names no runs; expected one of"):
        read_export(tmp_path / "other.parquet")


def test_export_refuses_an_unknown_suffix(store, tmp_path):
    with pytest.raises(OutputError, match=r"unknown suffix '.xlsx'; expected .parquet or .csv"):
        store.export(tmp_path / "out.xlsx")


def test_export_to_an_impossible_place_leaves_nothing(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        store.export(tmp_path / "file" / "out.csv")
    assert (tmp_path / "file").read_text() == ""


# Files that are no store.


def test_a_missing_file_is_not_created_for_reading(tmp_path):
    with pytest.raises(StoreError, match="no such file; expected a store of records"):
        Store(tmp_path / "none.sqlite", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"cannot open the store .*: .*; choose a folder that can be written"
    ) as caught:
        Store(tmp_path / "file" / "records.sqlite")
    assert "\n" not in str(caught.value)


def test_a_directory_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="cannot open the store"):
        Store(tmp_path)


@pytest.mark.parametrize("content", [b"run,trial\n1,2\n" * 100, b"x"])
def test_a_file_of_another_kind_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "records.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is no store: it is another kind of file"):
        Store(path)
    assert path.read_bytes() == content


def test_a_damaged_header_is_refused_and_kept(tmp_path):
    path = tmp_path / "records.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(2000))
    with pytest.raises(StoreError, match=r"cannot open the store .*; is it damaged or another kind of file"):
        Store(path)
    assert path.read_bytes() == b"SQLite format 3\0" + bytes(2000)


def test_a_truncated_store_is_refused(store):
    store.write_cell("r1", cell_of(), records_of(500), seconds=1.0)
    store.close()
    content = store.path.read_bytes()
    store.path.write_bytes(content[: len(content) // 2 // 4096 * 4096])
    with pytest.raises(StoreError, match="malformed"), Store(store.path) as opened:
        opened.records()


def test_an_sqlite_file_of_another_program_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "other.sqlite")
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="SQLite file of another program"):
        Store(tmp_path / "other.sqlite")


@pytest.mark.parametrize("version", [0, VERSION + 1])
def test_a_store_of_another_version_is_refused(store, version):
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(StoreError, match=rf"store of version {version}, this shrinkscope reads version {VERSION}"):
        Store(store.path)


def test_a_store_says_whose_file_it_is(store):
    store.close()
    connection = sqlite3.connect(store.path)
    stamps = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "journal_mode")]
    connection.close()
    assert stamps == [APPLICATION, "wal"]


# Several processes, kills and full disks.

WRITER = """
    import sys
    from shrinkscope.experiments.records import Cell, Record
    from shrinkscope.experiments.store import Run, Store

    path, trial, cells, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    run = Run(run="r1", config_hash="h", config="{}", versions="{}", seed=1, hardware="here", started="2026")
    with Store(path) as store:
        store.begin(run)
        print("open", flush=True)
        for number in range(cells):
            cell = Cell(trial=trial, scope="all", method="lowest", level=number / cells)
            records = [
                Record(epoch=k, layer="", metric="ap2", value=float(k), unit="weight²", status="exact")
                for k in range(rows)
            ]
            store.write_cell("r1", cell, records, seconds=1.0)
            print(number, flush=True)
"""


def writer(path: Path, trial: int, cells: int, rows: int, prefix: str = "") -> subprocess.Popen[str]:
    program = textwrap.dedent(prefix) + textwrap.dedent(WRITER)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path), str(trial), str(cells), str(rows)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_create_and_write_one_store_lose_nothing(tmp_path):
    path = tmp_path / "records.sqlite"
    writers = [writer(path, trial, cells=30, rows=20) for trial in range(3)]
    for process in writers:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    with Store(path, create=False) as store:
        assert len(store.finished("r1")) == 3 * 30
        assert len(store.records()) == 3 * 30 * 20


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.037, 0.071])
def test_a_kill_at_any_moment_keeps_every_finished_cell_whole(tmp_path, delay):
    path, rows = tmp_path / "records.sqlite", 3000
    process = writer(path, 1, cells=100000, rows=rows)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    announced = 1 + len([line for line in said.splitlines(keepends=True) if line.endswith("\n")])
    with Store(path, create=False) as store:
        finished = store.finished("r1")
        # The kill may fall between the commit of a cell and its announcement.
        assert announced <= len(finished) <= announced + 1
        assert len(store.records()) == len(finished) * rows
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX limits")
def test_a_full_disk_is_one_line_and_keeps_the_finished_cells(tmp_path):
    # The limit on the size of a file stands for the disk: writing beyond it fails like writing to a full one.
    path = tmp_path / "records.sqlite"
    full = """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    """
    process = writer(path, 1, cells=100, rows=200, prefix=full)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert "StoreError: cannot write the store" in last
    assert "Finished cells are kept: run the same command again" in last
    announced = len(said.splitlines()) - 1
    assert announced >= 1
    with Store(path, create=False) as store:
        assert len(store.finished("r1")) == announced
        assert len(store.records()) == announced * 200


# Epochs of cells that go on, and stores of version 1.

VERSION_1 = """
CREATE TABLE runs (
    run TEXT PRIMARY KEY, config_hash TEXT NOT NULL, config TEXT NOT NULL, versions TEXT NOT NULL,
    seed INTEGER NOT NULL, hardware TEXT NOT NULL, started TEXT NOT NULL
);
CREATE TABLE cells (
    run TEXT NOT NULL REFERENCES runs, trial INTEGER NOT NULL, scope TEXT NOT NULL, method TEXT NOT NULL,
    level REAL NOT NULL, seconds REAL NOT NULL, finished TEXT NOT NULL,
    PRIMARY KEY (run, trial, scope, method, level)
);
CREATE TABLE records (
    run TEXT NOT NULL REFERENCES runs, trial INTEGER NOT NULL, scope TEXT NOT NULL, method TEXT NOT NULL,
    level REAL NOT NULL, epoch INTEGER NOT NULL, layer TEXT NOT NULL, metric TEXT NOT NULL,
    value REAL, unit TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ('exact', 'bound', 'estimate')),
    standard_error REAL, reason TEXT,
    CHECK (value IS NOT NULL OR reason IS NOT NULL),
    PRIMARY KEY (run, trial, scope, method, level, epoch, layer, metric)
);
INSERT INTO runs VALUES ('r1', 'h', '{}', '{}', 1, 'there', '2025');
INSERT INTO cells VALUES ('r1', 1, 'all', 'lowest', 0.3, 2.5, '2025');
INSERT INTO records VALUES ('r1', 1, 'all', 'lowest', 0.3, 0, '', 'ap2', 0.25, 'weight²', 'exact', NULL, NULL);
"""


def test_a_store_of_version_1_is_brought_up_to_date(tmp_path):
    path = tmp_path / "old.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(f"{VERSION_1} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 1;")
    connection.close()
    for _ in range(2):
        with Store(path, create=False) as store:
            assert store.finished("r1") == {cell_of()}
            assert store.records()["value"].tolist() == [0.25]
    with Store(path) as store:
        store.write_cell("r1", cell_of(2), records_of(), seconds=1.0, hardware="here")
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert connection.execute("SELECT trial, hardware FROM cells ORDER BY trial").fetchall() == [
        (1, "there"),
        (2, "here"),
    ]
    connection.close()


def test_epochs_of_a_cell_that_goes_on_are_kept_and_left_out_of_the_table(store):
    records = records_of(3)
    first, rest = [r for r in records if r.epoch < 2], [r for r in records if r.epoch == 2]
    store.write_epochs("r1", cell_of(), first)
    assert store.records().empty
    assert store.epochs("r1", cell_of(), 1) == first
    assert store.epochs("r1", cell_of(), 0) == [r for r in first if r.epoch == 0]
    store.write_epochs("r1", cell_of(), rest)
    store.write_epochs("r1", cell_of(), rest)  # done again after a kill
    assert store.epochs("r1", cell_of(), 9) == records
    assert store.finished("r1") == set()
    store.write_cell("r1", cell_of(), records, seconds=1.0)
    assert len(store.records()) == len(records)
