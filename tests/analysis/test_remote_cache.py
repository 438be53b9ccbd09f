"""What is kept of a comparison of objects in storages, and found again."""

import sqlite3

import torch
from safetensors.torch import save

from range_server import RangeServer
from shrinkscope.analysis import compare, measuring


def test_objects_are_told_apart_by_what_their_storage_tells(tmp_path, monkeypatch):
    seen: list[str] = []
    original = measuring.measure

    def spy(pair, *arguments):
        seen.append(pair.dense.name)
        return original(pair, *arguments)

    monkeypatch.setattr(measuring, "measure", spy)
    generator = torch.Generator().manual_seed(0)
    dense = {f"layers.{k}.weight": torch.randn(8, 12, generator=generator) for k in range(4)}
    kept = tmp_path / "c.sqlite"
    with RangeServer() as server:
        server.objects["a.safetensors"] = save(dense)
        server.objects["b.safetensors"] = save({name: (2 * tensor).round() / 2 for name, tensor in dense.items()})
        urls = [server.url(f"{side}.safetensors?sig=s3cr3t") for side in "ab"]
        first = compare(*urls, cache=kept)
        assert len(seen) == 4
        signed_again = [url.replace("s3cr3t", "other") for url in urls]
        assert compare(*signed_again, cache=kept) == first
        assert len(seen) == 4
        server.etag = '"two"'
        compare(*urls, cache=kept)
        assert len(seen) == 8
        for server.etag in ('W/"weak"', None):  # nothing tells these versions apart, so that nothing is kept
            for _ in range(2):
                compare(*urls, cache=kept)
        assert len(seen) == 24
    connection = sqlite3.connect(kept)
    assert connection.execute("SELECT count(*) FROM rows").fetchone() == (8,)
    connection.close()
    assert not any(b"s3cr3t" in path.read_bytes() for path in tmp_path.iterdir())
