"""Comparing on a local Ray cluster: every digit that of one process, whatever happens on the way."""

import os
import pickle
import signal
import sqlite3
import threading

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from range_server import RangeServer
from ray_workers import descendants, kill_a_worker
from shrinkscope import compare
from shrinkscope.analysis import on_ray as module
from shrinkscope.analysis.shards import form_of
from shrinkscope.cluster import joined
from shrinkscope.errors import ClusterError, WeightsError
from shrinkscope.latent import Gaussian
from shrinkscope.weights import CHUNK, LayerSelection, open_weights, pair

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

LATENTS = ("gaussian", "student_t_grouped", "gaussian_rotated")


class Odd(Gaussian, frozen=True, kw_only=True, tag="odd"):
    """A latent whose author made a mistake."""

    def divergence(self, summary):
        raise KeyError("no such thing")


@pytest.fixture(scope="module")
def cluster():
    """One cluster for all tests of this file; what joins a cluster stays with it."""
    before = descendants(os.getpid())
    with joined("local", 2):
        yield "local"
    assert descendants(os.getpid()) <= before


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tensor of three pieces, the last one short, and several small ones, one of them no weight."""
    folder = tmp_path_factory.mktemp("networks")
    generator = torch.Generator().manual_seed(5)
    long = torch.randn(2 * module.PIECE + CHUNK + 17, generator=generator, dtype=torch.float32).to(torch.bfloat16)
    dense = {f"{k}.weight": torch.randn(64, 33 + k, generator=generator) for k in range(5)}
    dense |= {"long": long, "steps": torch.tensor(7), "0.bias": torch.full((3,), float("nan"))}
    pruned = {name: tensor * (tensor.abs() > 0.3) for name, tensor in dense.items()}
    save_file(dense, folder / "dense.safetensors")
    save_file(pruned, folder / "pruned.safetensors")
    return folder / "dense.safetensors", folder / "pruned.safetensors"


@pytest.fixture(scope="module")
def alone(files):
    return compare(*files, latents=LATENTS[:2], threads=2)


def same(one, other):
    # Not ==: NaN would differ from itself. The JSON has every digit.
    assert msgspec.json.encode(one) == msgspec.json.encode(other)


def test_every_digit_and_the_progress_are_those_of_one_process(cluster, files, alone):
    told: dict[str, int] = {}

    def tell(name, count):
        told[name] = told.get(name, 0) + count

    same(compare(*files, latents=LATENTS[:2], ray=cluster, progress=tell), alone)
    assert told == {row.layer: row.parameters for row in alone.rows}


def test_a_latent_that_needs_whole_tensors_and_the_rank(cluster, files):
    options = {"latents": LATENTS, "layers": "?.*", "exact": True, "rank": True}
    same(compare(*files, **options, ray=cluster), compare(*files, **options))


def test_a_worker_that_is_killed_changes_nothing(cluster, files, alone):
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.append(kill_a_worker("_compare_shard", signal.SIGKILL)))
    killer.start()
    found = compare(*files, latents=LATENTS[:2], ray=cluster)
    killer.join()
    assert len(killed) == 1
    same(found, alone)


def test_what_was_interrupted_goes_on_from_the_cache(cluster, files, alone, tmp_path):
    cache = tmp_path / "kept.sqlite"

    def interrupt(name, count):
        if name == "long":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(*files, latents=LATENTS[:2], ray=cluster, cache=cache, progress=interrupt)
    with sqlite3.connect(cache) as connection:
        kept = connection.execute("SELECT count(*) FROM rows").fetchone()[0]
    connection.close()
    assert kept < len(alone.rows)
    same(compare(*files, latents=LATENTS[:2], ray=cluster, cache=cache), alone)
    # Now everything is kept, and neither a cluster nor a worker is needed; nor does the way matter to the key.
    same(compare(*files, latents=LATENTS[:2], cache=cache), alone)
    with sqlite3.connect(cache) as connection:
        assert connection.execute("SELECT count(*) FROM rows").fetchone()[0] == len(alone.rows)
    connection.close()


def test_only_plans_and_sums_travel(files):
    before, after = (open_weights(path) for path in files)
    pairing = pair(before, after, LayerSelection())
    order = module.order_of(
        before, after, pairing, selection=LayerSelection(), rules=None, latents=(), reading=module.Reading()
    )
    shards = list(module._shards(pairing.pairs, range(len(pairing.pairs))))
    assert len(shards) == 3 + 1
    assert max(len(pickle.dumps(thing)) for thing in (order, *shards)) < 2000


def test_errors_of_workers_are_one_line(cluster, files, tmp_path):
    with pytest.raises(ClusterError, match=r"weight: a worker of Ray raised an error: KeyError: 'no such thing'$"):
        compare(*files, latents=[Odd()], layers="?.weight", ray=cluster)
    state = {"w": torch.ones(3)}
    with pytest.raises(ClusterError, match="the weights of state dict are in memory, and workers of a cluster read"):
        compare(state, state, ray=cluster)
    with pytest.raises(ClusterError, match="no machine of the Ray cluster has a GPU for cuda:7; leave device out"):
        compare(*files, ray=cluster, device="cuda:7")


def test_files_that_differ_from_machine_to_machine_are_noticed(cluster, files):
    before, after = (open_weights(path) for path in files)
    pairing = pair(before, after, LayerSelection())
    reading = module.Reading()
    order = module.order_of(before, after, pairing, selection=LayerSelection(), rules=None, latents=(), reading=reading)
    other = msgspec.structs.replace(order, form=form_of(pair(before, before, LayerSelection(include=("?.*",)))))
    with pytest.raises(WeightsError, match="holds other tensors on .*; let all machines see the same files"):
        list(module.on_ray(cluster, pairing, other)(range(2), lambda number, count: None))


def test_workers_read_the_same_urls(cluster, files, alone):
    with RangeServer() as server:
        for path in files:
            server.objects[path.name] = path.read_bytes()
        urls = [server.url(f"{path.name}?sig=s3cr3t") for path in files]
        found = compare(*urls, latents=LATENTS[:2], ray=cluster)
        assert found.rows[0].layer == alone.rows[0].layer
        same((found.rows, found.total), (alone.rows, alone.total))
        assert all(path.endswith("?sig=s3cr3t") for path, _, _ in server.requests)
