"""Checkpoints on a web server: what is asked for, what comes, and what goes wrong on the way."""

import io
import math
import random
import socket
import struct
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save

from range_server import RangeServer
from shrinkscope import compare
from shrinkscope.errors import WeightsError
from shrinkscope.weights import CHUNK, RemotePath, open_weights
from shrinkscope.weights.remote import connection

MIB = 1 << 20
PARTS = ("qweight", "qzeros", "scales")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(connection, "_PAUSE", 0.0)


@pytest.fixture(scope="module")
def networks():
    """100 tensors of sizes from a few bytes to several chunks, and what is left when small weights go."""
    generator = torch.Generator().manual_seed(3)
    dense = {f"l{k}.weight": torch.randn(20 + 7 * k, 100, generator=generator) for k in range(49)}
    dense |= {f"l{k}.bias": torch.randn(1 + k, generator=generator) for k in range(49)}
    dense["head.weight"] = torch.randn(2 * CHUNK // 1000 + 7, 1000, generator=generator).to(torch.bfloat16)
    dense["steps"] = torch.tensor(7)
    return dense, {name: tensor * (tensor.abs() > 0.3) for name, tensor in dense.items()}


@pytest.fixture
def server():
    with RangeServer() as running:
        yield running


def pt(tensors):
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def npz(tensors, write=np.savez, names="*"):
    file = io.BytesIO()
    write(file, **{name: tensor.float().numpy() for name, tensor in tensors.items() if fnmatch(name, names)})
    return file.getvalue()


FORMATS = {
    "x.safetensors": save,
    "x.pt": pt,
    "x.npz": npz,
    "z.npz": lambda tensors: npz(tensors, np.savez_compressed, "l*"),
}


def rows(comparison):
    return msgspec.json.encode((comparison.rows, comparison.total, comparison.unpaired))


@pytest.mark.parametrize("name", FORMATS)
def test_records_are_those_of_the_files_in_every_digit(server, networks, tmp_path, name):
    paths = []
    for side, tensors in zip("ab", networks, strict=True):
        server.objects[side + name] = FORMATS[name](tensors)
        paths.append(tmp_path / (side + name))
        paths[-1].write_bytes(server.objects[side + name])
    urls = [server.url(side + name) for side in "ab"]
    remote = compare(*urls, threads=2)
    assert rows(remote) == rows(compare(*paths, threads=1))
    assert [remote.settings.dense, remote.settings.compressed] == urls


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_each_byte_is_fetched_about_once(server, networks, name):
    for side, tensors in zip("ab", networks, strict=True):
        server.objects[side + name] = FORMATS[name](tensors)
    compare(*(server.url(side + name) for side in "ab"), threads=2)
    sizes = [len(server.objects[side + name]) for side in "ab"]
    assert sum(sizes) <= server.sent <= sum(1.05 * size + MIB for size in sizes)
    # No request for less than half a block but at the ends, and none for a whole tensor of 16 MiB.
    assert len(server.requests) <= 2 * sum(math.ceil(size / MIB) for size in sizes) + 10
    ranges = [asked.removeprefix("bytes=").split("-") for _, asked, _ in server.requests if asked]
    assert max(int(last) - int(first) for first, last in ranges) <= 9 * MIB


def test_opening_a_hundred_tensors_costs_three_requests(server, networks):
    server.objects["a.safetensors"] = save(networks[0])
    weights = open_weights(server.url("a.safetensors"))
    assert len(weights) == 100
    assert [path for path, _, _ in server.requests] == ["/a.safetensors", "/config.json", "/quantize_config.json"]
    assert server.sent == 1 << 19


def test_opening_a_file_of_pytorch_costs_its_directory_alone(server, networks):
    server.objects["a.pt"] = pt(networks[0])
    assert len(open_weights(server.url("a.pt"))) == 100
    assert len(server.requests) <= 5
    assert server.sent <= 2 * MIB


def test_a_pytorch_file_that_describes_nothing_is_fetched_only_when_it_is_small(server, monkeypatch):
    file = io.BytesIO()
    tensors = {"w": torch.randn(40, 50, generator=torch.Generator().manual_seed(1))}
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    server.objects["a.pt"] = file.getvalue()
    assert torch.equal(open_weights(server.url("a.pt"))["w"].read(), tensors["w"])
    monkeypatch.setattr("shrinkscope.weights.formats.torch_file._WHOLE", 1000)
    with pytest.raises(WeightsError, match=r"PyTorch can read it only whole, all \d+ bytes; download it"):
        open_weights(server.url("a.pt"))


def test_a_directory_is_asked_for_the_names_of_a_network(server, networks):
    first, rest = dict(list(networks[0].items())[:50]), dict(list(networks[0].items())[50:])
    server.objects |= {"net/part%201.safetensors": save(first), "net/part2.safetensors": save(rest)}
    index = dict.fromkeys(first, "part 1.safetensors") | dict.fromkeys(rest, "part2.safetensors")
    server.objects["net/model.safetensors.index.json"] = msgspec.json.encode({"weight_map": index})
    server.objects["net/config.json"] = b"{}"
    sharded = open_weights(server.url("net/"))
    assert all(torch.equal(sharded[name].read(), tensor) for name, tensor in networks[0].items())
    server.objects["one/model.safetensors"] = save(networks[0])
    assert set(open_weights(server.url("one/"))) == set(networks[0])
    with pytest.raises(WeightsError, match=r"holds none of model\.safetensors\.index\.json, .*; name one file"):
        open_weights(server.url("two/"))


def test_a_missing_object(server):
    with pytest.raises(WeightsError, match=r"http://127.*/no\.npz: no such file"):
        open_weights(server.url("no.npz"))


def test_a_refused_object_and_its_secrets(server, networks):
    server.objects["a.safetensors"] = save(networks[0])
    server.secret = "Signature=s3cr3t"
    with pytest.raises(WeightsError, match="access is refused .*403.*check its name and your credentials") as error:
        open_weights(server.url("a.safetensors?Signature=wr0ng"))
    assert "wr0ng" not in str(error.value)
    weights = open_weights(server.url("a.safetensors?Signature=s3cr3t"))
    assert weights.origin == server.url("a.safetensors?…")
    assert torch.equal(weights["l3.bias"].read(), networks[0]["l3.bias"])
    with_user = server.url("a.safetensors?Signature=s3cr3t").replace("//", "//me:pass@")
    assert "pass" not in open_weights(with_user).origin
    assert server.requests[-1][2] is not None  # the user's name and password, in the header


def ignores_ranges(handler, data):
    handler.reply(200, data)


def test_a_server_that_ignores_ranges_is_not_read_whole(server, networks):
    server.objects["a.safetensors"] = save(networks[0])
    server.answer = ignores_ranges
    with pytest.raises(WeightsError, match="the server does not serve ranges of it; download it, and give the path"):
        open_weights(server.url("a.safetensors"))
    assert len(server.requests) == 1


def test_a_small_object_may_come_whole(server):
    server.objects["a.safetensors"] = save({"w": torch.arange(6.0)})
    server.answer = ignores_ranges
    assert torch.equal(open_weights(server.url("a.safetensors"))["w"].read(), torch.arange(6.0))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda h, d: h.reply(206, d[:9], {"Content-Range": "bytes 1-9/99"}), "answers a range with status 206"),
        (lambda h, d: h.reply(206, d[:9]), "answers a range with status 206"),
        (lambda h, d: h.reply(418, b""), "answers a range with status 418"),
        (lambda h, d: h.reply(206, d, {"Content-Encoding": "gzip"}), "compresses what it sends"),
        (lambda h, d: h.reply(416, b"", {"Content-Range": "bytes */99"}), "was changed while it was read"),
        (lambda h, d: h.reply(206, d[:9], {"Content-Range": "bytes 0-8/99"}), r"tried twice \(ConnectionError"),
        (
            lambda h, d: h.reply(503, b""),
            r"tried twice \(ConnectionError: status 503\); what --resume",
        ),
        (lambda h, d: h.reply(429, b""), "tried twice"),
        (lambda h, d: h.reply(401, b""), "access is refused"),
    ],
)
def test_answers_that_cannot_be_used(server, answer, said):
    server.objects["a.safetensors"] = save({"w": torch.arange(600.0)})
    server.answer = answer
    with pytest.raises(WeightsError, match=said) as error:
        open_weights(server.url("a.safetensors"))
    assert "\n" not in str(error.value)


def test_an_empty_object(server):
    server.objects["a.safetensors"] = b""
    with pytest.raises(WeightsError, match="it has 0 bytes"):
        open_weights(server.url("a.safetensors"))


@pytest.mark.parametrize("change", ["etag", "size"])
def test_an_object_that_is_changed_while_it_is_read(server, networks, change):
    server.objects["a.safetensors"] = save(networks[0])
    weights = open_weights(server.url("a.safetensors"))
    server.etag = '"two"' if change == "etag" else None
    server.objects["a.safetensors"] += b"" if change == "etag" else b"more"
    with pytest.raises(WeightsError, match="was changed while it was read; compare it again"):
        weights["head.weight"].read()


def test_a_truncated_object(server, networks):
    server.objects["a.safetensors"] = save(networks[0])[:-1000]
    with pytest.raises(WeightsError, match=r"lies at bytes .*is it truncated\?"):
        open_weights(server.url("a.safetensors"))


class Cutting:
    """Answers that end in the middle, so many of them."""

    def __init__(self, times):
        self.times = times

    def __call__(self, handler, data):
        if not self.times or "bytes=0-" in handler.headers["Range"]:
            handler.ranged(data)
            return
        self.times -= 1
        handler.send_response(206)
        first, last = (int(place) for place in handler.headers["Range"][6:].split("-"))
        last = min(last, len(data) - 1)
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        handler.send_header("Content-Length", str(last + 1 - first))
        handler.end_headers()
        handler.wfile.write(data[first : first + 1000])
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_is_cut_is_tried_again_once(server, networks):
    server.objects["a.safetensors"] = save(networks[0])
    weights = open_weights(server.url("a.safetensors"))
    server.answer = Cutting(1)
    assert torch.equal(weights["head.weight"].read(), networks[0]["head.weight"])
    again = open_weights(server.url("a.safetensors"))
    server.answer = Cutting(100)
    with pytest.raises(WeightsError, match="cannot be read, tried twice"):
        again["head.weight"].read()


def test_no_server_at_all():
    with RangeServer() as closed:
        url = closed.url("a.npz")
    with pytest.raises(WeightsError, match="cannot be read, tried twice") as error:
        open_weights(url)
    assert "\n" not in str(error.value)


def test_a_web_server_is_asked_for_nothing_to_be_sure_of_versions(server):
    server.objects["a.safetensors"] = save({"w": torch.arange(6.0)})
    path = RemotePath(server.url("a.safetensors"))
    open_weights(path)["w"].read()
    server.forget()
    path.confirm()
    assert server.requests == []
    with pytest.raises(WeightsError, match="a web server lists nothing; name one file"):
        path._connection.names(path._location)


def test_several_threads_read_one_object(server):
    content = server.objects["a.bin"] = random.Random(0).randbytes(1 << 24)
    path = RemotePath(server.url("a.bin"))
    ranges = [(k * 349_999 % (1 << 23), k * 54_321 % (3 << 20)) for k in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: path.read_range(*one), ranges))
    assert all(piece == content[begin : begin + length] for piece, (begin, length) in zip(found, ranges, strict=True))


def test_llama_cpp_files_and_packed_integers(server):
    gguf = pytest.importorskip("gguf", reason="the package is in the extra `formats`")
    values = np.random.default_rng(0).normal(0, 0.05, (300, 512)).astype(np.float32)
    blocks = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    name = b"w.weight"
    tokens = b"".join(struct.pack("<Q", 6) + b"%06d" % k for k in range(100_000))  # a vocabulary of 1.4 MB
    key = struct.pack("<Q", 6) + b"tokens" + struct.pack("<IIQ", 9, 8, 100_000) + tokens
    header = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1) + key + struct.pack("<Q", len(name)) + name
    header += struct.pack("<IQQIQ", 2, 512, 300, 8, 0)
    server.objects["a.gguf"] = header.ljust(-(-len(header) // 32) * 32, b"\0") + blocks.tobytes()
    weights = open_weights(server.url("a.gguf"))
    assert len(server.requests) <= 6
    expected = torch.from_numpy(gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0))
    assert torch.equal(weights["w.weight"].read(), expected)
    codes = torch.randint(-128, 128, (200, 300), dtype=torch.int8, generator=torch.Generator().manual_seed(1))
    scale = torch.rand(200, 1, generator=torch.Generator().manual_seed(2)).half()
    server.objects["i.safetensors"] = save({"w.weight": codes, "w.weight_scale": scale})
    assert torch.equal(open_weights(server.url("i.safetensors"))["w.weight"].read(), codes.half() * scale)


def test_a_format_that_lies_by_columns_is_fetched_once(server):
    generator = torch.Generator().manual_seed(4)
    words = torch.randint(-(2**31), 2**31 - 1, (2048 // 8, 3000), dtype=torch.int32, generator=generator)
    zeros = torch.randint(-(2**31), 2**31 - 1, (16, 3000 // 8), dtype=torch.int32, generator=generator)
    scales = torch.rand(16, 3000, generator=generator).half()
    parts = dict(zip(PARTS, (words, zeros, scales), strict=True))
    state = {f"{name}.{part}": value.clone() for name in "kl" for part, value in parts.items()}
    server.objects["a.safetensors"] = save(state)
    dense = {f"{name}.weight": torch.ones(3000, 2048) for name in "kl"}
    server.objects["b.safetensors"] = save(dense)
    found = compare(server.url("b.safetensors"), server.url("a.safetensors"), threads=2)
    assert found.rows == compare(dense, state).rows
    assert server.sent <= 1.05 * sum(map(len, server.objects.values())) + 2 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of private memory is Linux's")
def test_an_object_larger_than_the_memory_limit_is_compared(tmp_path):
    script = """
        import re, resource, sys
        from pathlib import Path
        import torch
        from shrinkscope import compare
        from shrinkscope.weights import open_weights

        small, large = sys.argv[1:]
        compare(small, small, threads=2)
        now = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        resource.setrlimit(resource.RLIMIT_DATA, (now + 250_000_000, now + 250_000_000))
        total = compare(large, large, threads=2).total
        print(total.parameters, total.zeros, total.changed)
    """
    count = 150_000_000
    header = b'{"w":{"dtype":"BF16","shape":[%d],"data_offsets":[0,%d]}}' % (count, 2 * count)
    with RangeServer() as server:
        server.objects["small.safetensors"] = save({"w": torch.ones(CHUNK + 1)})
        server.objects["large.safetensors"] = struct.pack("<Q", len(header)) + header + bytes(2 * count)
        urls = [server.url(f"{name}.safetensors") for name in ("small", "large")]
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), *urls], capture_output=True, text=True, timeout=120
        )
    assert done.stdout.split() == [str(count), str(count), "0"], done.stderr
