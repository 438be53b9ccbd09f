"""Checkpoints in storages that list, tell versions apart from ranges, or have no ranges of their own."""

import hashlib
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
import torch
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import save

from shrinkscope import compare
from shrinkscope.errors import WeightsError
from shrinkscope.weights import RemotePath, open_weights
from shrinkscope.weights.remote import connection


class Bucket(MemoryFileSystem):
    """A storage with ETags, like s3fs, that counts what it is asked."""

    protocol = "bucket"
    store: dict = {}  # noqa: RUF012 (the base class shares it so)
    asked: list = []  # noqa: RUF012

    def info(self, path, **kwargs):
        self.asked.append("info")
        found = super().info(path, **kwargs)
        if found["type"] == "file":
            found["ETag"] = hashlib.md5(self.store[found["name"]].getvalue()).hexdigest()
        return found

    def cat_file(self, path, start=None, end=None, **kwargs):
        self.asked.append((start, end))
        return super().cat_file(path, start, end, **kwargs)


class Plain(AbstractFileSystem):
    """A storage whose backend knows files alone, like Hugging Face's; ``options`` is what each was opened with."""

    protocol = "plain"
    options: list = []  # noqa: RUF012

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.memory = fsspec.filesystem("memory")

    def info(self, path, **kwargs):
        return self.memory.info("/" + path)

    def _open(self, path, mode="rb", **kwargs):
        self.options.append(kwargs["cache_type"])
        return self.memory.open("/" + path, mode)


@pytest.fixture(autouse=True)
def storages(monkeypatch):
    monkeypatch.setattr(connection, "_PAUSE", 0.0)
    for kind in (Bucket, Plain):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    Bucket.store.clear()
    Bucket.asked.clear()
    Plain.options.clear()


def put(url, tensors):
    fsspec.filesystem(url.partition("://")[0]).pipe_file(url, save(tensors))


TENSORS = {"a.weight": torch.arange(12.0).reshape(3, 4), "b.weight": torch.ones(600, 1000)}


def test_a_directory_is_listed():
    put("memory://models/net/model-1-of-2.safetensors", {"a.weight": TENSORS["a.weight"]})
    put("memory://models/net/model-2-of-2.safetensors", {"b.weight": TENSORS["b.weight"]})
    files = fsspec.filesystem("memory")
    with pytest.raises(WeightsError, match=r"memory://models/net: holds 2 files of weights .*is its index missing\?"):
        open_weights("memory://models/net")
    index = b'{"weight_map": {"a.weight": "model-1-of-2.safetensors", "b.weight": "model-2-of-2.safetensors"}}'
    files.pipe_file("memory://models/net/model.safetensors.index.json", index)
    for url in ("memory://models/net", "memory://models/net/"):
        weights = open_weights(url)
        assert all(torch.equal(weights[name].read(), tensor) for name, tensor in TENSORS.items())


def test_a_directory_without_weights_and_a_missing_object():
    fsspec.filesystem("memory").pipe_file("memory://models/readme.md", b"hello")
    with pytest.raises(WeightsError, match="memory://models: is a directory without weights"):
        open_weights("memory://models")
    with pytest.raises(WeightsError, match=r"memory://models/a\.npz: no such file"):
        open_weights("memory://models/a.npz")
    with pytest.raises(WeightsError, match=r"memory://models/readme\.md: unknown format \(\.md\)"):
        open_weights("memory://models/readme.md")


def test_a_file_url_is_a_path(tmp_path):
    path = tmp_path / "a b.safetensors"
    path.write_bytes(save(TENSORS))
    weights = open_weights(path.as_uri())
    assert weights.place == path


def test_only_ranges_are_read():
    put("bucket://box/a.safetensors", TENSORS)
    weights = open_weights("bucket://box/a.safetensors")
    assert Bucket.asked.count("info") == 3  # the object, config.json, quantize_config.json
    assert [asked for asked in Bucket.asked if asked != "info"] == [(0, 1 << 19)]
    assert torch.equal(weights["b.weight"].read(), TENSORS["b.weight"])
    (content,) = Bucket.store.values()
    size = len(content.getvalue())
    assert [asked for asked in Bucket.asked if asked != "info"][1:] == [(1 << 19, size)]


def test_a_backend_without_ranges_opens_files_that_do_not_read_ahead():
    put("memory://box/a.safetensors", TENSORS)
    assert torch.equal(open_weights("plain://box/a.safetensors")["b.weight"].read(), TENSORS["b.weight"])
    assert Plain.options == ["none"]  # one file for all ranges of one thread


def test_an_object_that_is_changed_during_a_comparison():
    for name in "ab":
        put(f"bucket://box/{name}.safetensors", TENSORS)
    paths = [RemotePath(f"bucket://box/{name}.safetensors") for name in "ab"]

    def change(*_):
        put("bucket://box/b.safetensors", {name: 2 * tensor for name, tensor in TENSORS.items()})

    with pytest.raises(WeightsError, match=r"bucket://box/b\.safetensors: was changed while it was read; compare it"):
        compare(*paths, threads=1, progress=change)


def test_an_object_that_becomes_shorter():
    put("bucket://box/a.safetensors", TENSORS)
    weights = open_weights("bucket://box/a.safetensors")
    (content,) = (file.getvalue() for file in Bucket.store.values())
    fsspec.filesystem("bucket").pipe_file("bucket://box/a.safetensors", content[:-1000])
    with pytest.raises(WeightsError, match=r"tried twice \(ConnectionError: \d+ bytes came of \d+\)"):
        weights["b.weight"].read()
    path = RemotePath("bucket://box/a.safetensors")
    with pytest.raises(WeightsError, match=r"ends at byte \d+ of \d+; is it truncated\?"):
        path.read_range(len(content) - 1000, 10)


def test_an_object_that_is_gone_when_it_is_looked_at_again():
    put("bucket://box/a.safetensors", TENSORS)
    path = RemotePath("bucket://box/a.safetensors")
    path.read_bytes()
    path.confirm()
    path.confirm()
    assert Bucket.asked.count("info") == 2  # what was not read since is not asked for
    path = RemotePath("bucket://box/a.safetensors")
    path.read_bytes()
    Bucket.store.clear()
    with pytest.raises(WeightsError, match="no such object"):
        path.confirm()


def test_another_process_reads_the_versions_that_were_opened():
    put("bucket://box/a.safetensors", TENSORS)
    path = RemotePath("bucket://box/a.safetensors", key="s3cr3t")
    content = path.read_bytes()
    there = pickle.loads(pickle.dumps(path))
    assert there == path
    assert hash(there) == hash(path)
    Bucket.asked.clear()
    assert there.read_bytes() == content
    assert "info" not in Bucket.asked
    put("bucket://box/a.safetensors", {name: 2 * tensor for name, tensor in TENSORS.items()})
    late = pickle.loads(pickle.dumps(path))
    late.read_range(0, 10)
    with pytest.raises(WeightsError, match="was changed while it was read"):
        late.confirm()


def test_a_path_says_what_readers_ask_of_paths():
    put("memory://models/net/model.safetensors", TENSORS)
    folder = RemotePath("memory://models/net/")
    (file,) = folder.iterdir()
    assert (file.name, file.suffix, str(file.parent)) == ("model.safetensors", ".safetensors", "memory://models/net/")
    assert (file.is_file(), file.is_dir(), folder.is_file(), folder.is_dir()) == (True, False, False, True)
    assert not file.is_symlink()
    assert file.absolute() is file
    assert (folder / "none").exists() is False
    assert (folder / "none").suffix == (folder / ".hidden").suffix == ""
    assert repr(file) == "RemotePath('memory://models/net/model.safetensors')"
    assert file.stat().st_size == len(file.read_bytes())
    with pytest.raises(ValueError, match="is only read"):
        file.open("wb")
    with pytest.raises(WeightsError, match="is a directory; expected an object"):
        folder.stat()
    with pytest.raises(WeightsError, match=r"no such object \(FileNotFoundError.*\); check its name"):
        (folder / "none").stat()


def test_a_file_is_read_in_growing_ranges():
    content = bytes(range(256)) * (1 << 16)
    fsspec.filesystem("bucket").pipe_file("bucket://box/a.bin", content)
    file = RemotePath("bucket://box/a.bin").open()
    assert (file.seek(-3, 2), file.read(9)) == (len(content) - 3, content[-3:])
    assert (file.seek(1000), file.read(5), file.tell()) == (1000, content[1000:1005], 1005)
    Bucket.asked.clear()
    file.seek(0)
    assert file.read() == content
    requests = [asked for asked in Bucket.asked if asked != "info"]
    assert sum(stop - start for start, stop in requests) <= len(content)
    assert len(requests) <= 12
    assert file.readable()
    assert file.seekable()
    with pytest.raises(ValueError, match="nothing before its first byte"):
        file.raw.seek(-1)


def test_several_threads_read_one_object():
    fsspec.filesystem("bucket").pipe_file("bucket://box/a.bin", content := random.Random(0).randbytes(1 << 24))
    path = RemotePath("bucket://box/a.bin")
    ranges = [(k * 349_999 % (1 << 23), k * 54_321 % (3 << 20)) for k in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: path.read_range(*one), ranges))
    assert all(piece == content[begin : begin + length] for piece, (begin, length) in zip(found, ranges, strict=True))
