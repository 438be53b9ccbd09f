import signal
import sqlite3
import subprocess
import sys

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from shrinkscope.analysis.scan import scan
from shrinkscope.analysis.scan.cache import ScanCache, digest, digest_of_tensors
from shrinkscope.errors import LatentError, StoreError
from shrinkscope.latent import NAMED, Gaussian

METHODS = ["lowest", "random", "quantise"]

# Run in a process of its own; the parent kills it after some candidates.
SCRIPT = """
import sys, torch
from torch import nn
from shrinkscope import scan
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
inputs = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
def tell(done, total, layer):
    print(done, flush=True)
    sys.stdin.readline()
scan(model, inputs=inputs, methods=["lowest", "random", "quantise"], cache=sys.argv[1], progress=tell)
"""


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


def draw(count=50, seed=1):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def numbers(found):
    return [replace(row, seconds=0.0) for row in found.rows]


def run(cache, **options):
    return scan(network(), **{"inputs": draw(), "methods": METHODS, "cache": cache, **options})


def test_a_killed_scan_resumes_to_the_same_numbers(tmp_path):
    cache = tmp_path / "cache"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(cache)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    told = []
    for _ in range(7):
        told.append(process.stdout.readline())
        process.stdin.write("\n")
        process.stdin.flush()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdin.close()
    process.stdout.close()
    assert told[-1] == "7\n"
    resumed, fresh = run(cache), scan(network(), inputs=draw(), methods=METHODS)
    # Candidates that go together, one of each of the three methods, are written together.
    assert 7 <= resumed.cost.from_cache <= 12
    assert numbers(resumed) == numbers(fresh)


def test_a_second_scan_runs_nothing_but_the_dense_network(tmp_path):
    first, second = run(tmp_path), run(tmp_path)
    assert first.cost.from_cache == 0
    assert second.cost.from_cache == second.cost.candidates - second.cost.not_run
    assert second.rows == first.rows
    assert second.cost.forward_equivalents == pytest.approx(2.0)  # the network itself, and its steps
    assert "rows from the cache" in second.summary()


def changed_code():
    model = network()
    model[1] = nn.ReLU6()
    model[1].forward = lambda hidden: hidden.relu() * 1.01
    return model


def moved_weights():
    model = network()
    with torch.no_grad():
        model[4].bias[0] += 1e-6
    return model


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (moved_weights, {}),
        (changed_code, {}),
        (network, {"inputs": draw(seed=2)}),
        (network, {"inputs": None, "data": (draw(), torch.zeros(50, dtype=torch.int64))}),
        (network, {"seed": 1}),
        (network, {"latents": ["gaussian"]}),
    ],
)
def test_anything_that_decides_the_numbers_makes_other_keys(tmp_path, model, options):
    run(tmp_path)
    found = scan(model(), **{"inputs": draw(), "methods": METHODS, "cache": tmp_path, **options})
    assert found.cost.from_cache == 0


def test_more_levels_measure_only_what_is_new(tmp_path):
    run(tmp_path, methods=["lowest"], levels=[0.3])
    found = run(tmp_path, methods=["lowest"], levels=[0.3, 0.4])
    assert found.cost.from_cache == 3
    assert numbers(found) == numbers(run(None, methods=["lowest"], levels=[0.3, 0.4]))


def test_a_damaged_row_is_measured_again_and_told(tmp_path):
    file = tmp_path / "scan.sqlite"
    first = run(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE rows SET content = zeroblob(40) WHERE rowid IN (SELECT rowid FROM rows LIMIT 2)")
    connection.close()
    found = run(file)
    assert numbers(found) == numbers(first)
    assert found.cost.from_cache == first.cost.candidates - first.cost.not_run - 2
    assert len(found.notes) == 2
    assert "its checksum is wrong" in found.notes[0]
    assert "was measured again" in found.summary()
    assert run(file).notes == ()


def test_a_row_under_another_key_is_damaged(tmp_path):
    row = run(None).rows[0]
    with ScanCache(tmp_path) as cache:
        cache.put("one", row)
        cache.put("two", replace(row, level=0.1))
        cache._connection.execute(
            "UPDATE rows SET (content, checksum) = (SELECT content, checksum FROM rows WHERE key = 'two')"
        )
        assert cache.get("one") is None
        assert cache.get("two").level == 0.1
        assert cache.get("three") is None


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_is_no_cache_is_an_error_and_stays_as_it_is(tmp_path, content):
    file = tmp_path / "other.sqlite"
    file.write_bytes(content)
    with pytest.raises(StoreError, match="choose another"):
        run(file)
    assert file.read_bytes() == content


def test_a_database_of_another_program_is_an_error(tmp_path):
    file = tmp_path / "other.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(StoreError, match="of another program"):
        run(file)


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot use the cache"):
        run(tmp_path / "file" / "below" / "scan.sqlite")


def test_a_latent_that_cannot_be_described_is_not_cached(tmp_path):
    class Own:
        column, groups = "own", None

        def divergence(self, summary):
            return Gaussian().divergence(summary)

    with pytest.raises(LatentError, match="own: a cache cannot know"):
        run(tmp_path, latents=[Own()])
    assert run(None, latents=[Own()]).rows[0].divergences["own"].value > 0
    run(tmp_path, latents=NAMED)


def test_hashes_tell_parts_types_and_names_apart():
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])
    ones = torch.ones(2, 3)
    base = digest_of_tensors([("a", ones)])
    others = [ones.reshape(3, 2), ones.double(), ones.view(torch.int32), -ones, None]
    assert len({base, digest_of_tensors([("b", ones)]), *(digest_of_tensors([("a", t)]) for t in others)}) == 7
    assert base == digest_of_tensors([("a", torch.ones(3, 2).t())])
    assert digest_of_tensors([("a", torch.zeros(0))]) != digest_of_tensors([("a", torch.zeros(0, 2))])
