"""Comparisons that were interrupted go on: what is kept, what tells layers apart, and a real kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from shrinkscope.analysis import compare, measuring
from shrinkscope.analysis.layer_cache import LayerCache
from shrinkscope.errors import StoreError
from shrinkscope.weights import open_weights
from shrinkscope.weights.mapping import Rename, Rules


def networks(seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    dense = {f"layers.{k}.weight": torch.randn(8, 12, generator=generator) for k in range(4)}
    return dense, {name: (2 * tensor).round() / 2 for name, tensor in dense.items()}


def measured(monkeypatch) -> list[str]:
    """Names of the layers that are measured from now on."""
    seen: list[str] = []
    original = measuring.measure

    def spy(pair, *arguments):
        seen.append(pair.dense.name)
        return original(pair, *arguments)

    monkeypatch.setattr(measuring, "measure", spy)
    return seen


def test_a_second_comparison_measures_nothing_and_says_the_same(tmp_path, monkeypatch):
    first = compare(*networks(), cache=tmp_path)
    seen = measured(monkeypatch)
    told: list[tuple[str, int]] = []
    again = compare(*networks(), cache=tmp_path, progress=lambda name, count: told.append((name, count)))
    assert (seen, again) == ([], first)
    assert told == [(f"layers.{k}.weight", 96) for k in range(4)]
    assert compare(*networks()) == first


def test_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    def stop(name, _):
        if name == "layers.2.weight":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(*networks(), cache=tmp_path, progress=stop)
    seen = measured(monkeypatch)
    assert compare(*networks(), cache=tmp_path) == compare(*networks())
    # The comparison without a cache measures all four again.
    assert seen[:2] == ["layers.2.weight", "layers.3.weight"]
    assert len(seen) == 6


@pytest.mark.parametrize("side", [0, 1])
def test_one_bit_makes_another_layer(tmp_path, monkeypatch, side):
    pair = networks()
    compare(*pair, cache=tmp_path)
    pair[side]["layers.1.weight"][7, 11] += 1e-6
    seen = measured(monkeypatch)
    compare(*pair, cache=tmp_path)
    assert seen == ["layers.1.weight"]


@pytest.mark.parametrize("settings", [{"exact": True}, {"latents": ["gaussian"]}, {"rank": True}])
def test_other_settings_are_measured_again(tmp_path, monkeypatch, settings):
    compare(*networks(), cache=tmp_path)
    seen = measured(monkeypatch)
    compare(*networks(), cache=tmp_path, **settings)
    assert len(seen) == 4


def test_a_long_tensor_in_a_file_is_told_apart_by_the_files_time_and_by_samples(tmp_path, monkeypatch):
    monkeypatch.setattr("shrinkscope.analysis.layer_cache._WHOLE", 1000)
    monkeypatch.setattr("shrinkscope.analysis.layer_cache._SAMPLE", 4)
    tensor = torch.randn(40, 50, generator=torch.Generator().manual_seed(1))
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file in files:
        save_file({"w": tensor}, file)
    compare(*files, cache=tmp_path / "cache.sqlite")
    seen = measured(monkeypatch)
    compare(*files, cache=tmp_path / "cache.sqlite")
    assert seen == []
    os.utime(files[1], ns=(1, 1))
    compare(*files, cache=tmp_path / "cache.sqlite")
    assert seen == ["w"]


def test_a_latent_that_cannot_be_written_down_is_refused(tmp_path):
    class Mine:
        column, groups = "mine", None

        def divergence(self, summary):
            raise NotImplementedError

    with pytest.raises(StoreError, match="of the latent mine cannot be cached"):
        compare(*networks(), latents=[Mine()], cache=tmp_path)


def test_opened_weights_are_cached_too(tmp_path, monkeypatch):
    dense, compressed = networks()
    compare(dense, compressed, cache=tmp_path)
    seen = measured(monkeypatch)
    compare(open_weights(dense), open_weights(compressed), cache=tmp_path)
    assert seen == []


def test_a_killed_process_loses_the_layer_in_progress_alone(tmp_path, monkeypatch):
    script = f"""
        import sys, time, torch
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_layer_cache import networks
        from shrinkscope.analysis import compare, measuring
        def slow(name, _):
            if name == "layers.3.weight":
                print("in the last layer", flush=True)
                time.sleep(60)
        compare(*networks(), cache={str(tmp_path / "c.sqlite")!r}, progress=slow)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "in the last layer\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.stdout.close()
    seen = measured(monkeypatch)
    kept = compare(*networks(), cache=tmp_path / "c.sqlite")
    assert seen == ["layers.3.weight"]
    assert kept == compare(*networks())


def test_the_cache_holds_records_that_can_be_read(tmp_path):
    compare(*networks(), cache=tmp_path)
    with LayerCache(tmp_path) as cache, sqlite3.connect(cache.path) as connection:
        (key,) = connection.execute("SELECT key FROM rows LIMIT 1").fetchone()
        found = cache.get(key)
    connection.close()
    assert found is not None
    assert found.moments.count == 96
    assert msgspec.structs.asdict(found.row)["distinct"] is not None


def test_other_rules_are_other_keys(tmp_path):
    dense, compressed = {"w": torch.ones(4, 4)}, {"w": torch.eye(4)}
    for prefix in ("a.", "b."):
        found = compare(
            {f"m.{name}": value for name, value in dense.items()},
            {f"{prefix}{name}": value for name, value in compressed.items()},
            rules=Rules(rename=(Rename.parse(rf"{prefix}(.*)=m.\1"),)),
            cache=tmp_path / "diff.sqlite",
        )
        assert found.rows[0].changed == 12
    with LayerCache(tmp_path / "diff.sqlite") as store:
        assert store._connection.execute("SELECT count(*) FROM rows").fetchone() == (2,)


def test_a_row_says_how_many_numbers_the_compressed_network_keeps():
    left, right = torch.randn(8, 2), torch.randn(2, 12)
    found = compare(
        {"m.weight": left @ right, "m.bias": torch.zeros(8)}, {"m.U": left, "m.V": right, "m.bias": torch.ones(8)}
    )
    rows = {row.layer: row for row in found.rows}
    assert (rows["m.weight"].parameters, rows["m.weight"].stored) == (96, 40)
    assert rows["m.bias"].stored is None
