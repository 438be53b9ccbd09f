"""Coverage-guided fuzzing of every reader of weights: ``python fuzz/readers.py CORPUS -max_total_time=600``.

Needs the package atheris. Without a corpus begin with ``--seed CORPUS``, which writes valid checkpoints. An input that
breaks the promise of ``fuzzing.reader_inputs`` stops the run and is left in a file ``crash-…``; the corpus that tests
replay is in tests/weights/corpus.
"""

import io
import resource
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

with atheris.instrument_imports(include=["shrinkscope", "zipfile", "torch._weights_only_unpickler"]):  # type: ignore[attr-defined]
    import torch._weights_only_unpickler  # noqa: F401 (imported here to be watched)

    from fuzzing.reader_inputs import checkpoint, read_or_refuse

MEMORY = 3 << 30
"""Bytes of private memory that an input of a few kilobytes may not exceed, the imports included."""

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-readers-"))


def one_input(data: bytes) -> None:
    """The promise for one input."""
    read_or_refuse(checkpoint(data, FOLDER))


def _end(content: bytes) -> int:
    """Where the header of a safetensors file ends."""
    return 8 + int.from_bytes(content[:8], "little")


def seed(folder: Path) -> None:
    """Write one valid checkpoint of each kind as inputs."""
    import numpy as np
    import torch
    from safetensors.torch import save

    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}
    packed = {
        "q.weight_packed": torch.zeros(4, 4, dtype=torch.int32), "q.weight_scale": torch.ones(4, 2).half(),
        "q.weight_shape": torch.tensor([4, 32]), "r.weight": torch.zeros(4, 8, dtype=torch.int8),
        "r.SCB": torch.ones(4),
        "s.qweight": torch.zeros(4, 32, dtype=torch.int32), "s.qzeros": torch.zeros(2, 4, dtype=torch.int32),
        "s.scales": torch.ones(2, 32).half(), "t.qweight": torch.zeros(8, 4, dtype=torch.int32),
        "t.qzeros": torch.zeros(2, 4, dtype=torch.int32), "t.scales": torch.ones(2, 32).half(),
        "u.shape": torch.tensor([[2], [8]]), "u.compressed": torch.ones(2, 4), "v.weight": torch.zeros(64, 1).byte(),
        "u.bitmask": torch.full((2, 1), 85, dtype=torch.uint8), "v.weight.absmax": torch.ones(2),
        "v.weight.quant_map": torch.ones(16), "w_orig": torch.ones(3), "w_mask": torch.ones(3),
        "v.weight.quant_state.bitsandbytes__nf4": torch.tensor(
            list(b'{"dtype":"float16","blocksize":64,"shape":[2,64]}'), dtype=torch.uint8
        ),
    }  # fmt: skip
    metadata = {"m.weight": '{"_type": "Int8Tensor", "_data": {}, "_tensor_data_names": ["qdata"]}'}
    split = [save(tensors), save(packed, metadata)]
    buffer = io.BytesIO()
    torch.save({"state_dict": tensors | {"t": torch.ones(2, 3).t()}, "epoch": 3}, buffer)
    pickled = zipfile.ZipFile(buffer).read("archive/data.pkl")
    plain, small = io.BytesIO(), io.BytesIO()
    np.savez(plain, a=np.ones((2, 3), "f4", order="F"), b=np.arange(3))
    np.savez_compressed(small, a=np.ones(30, ">f8"))
    array = zipfile.ZipFile(plain).read("a.npy")
    sizes = b"\2\0\0\0" + (32).to_bytes(8, "little") + (2).to_bytes(8, "little")
    entry = lambda name, kind, offset: (  # noqa: E731
        len(name).to_bytes(8, "little") + name + sizes + kind.to_bytes(4, "little") + offset.to_bytes(8, "little")
    )
    pair = (17).to_bytes(8, "little") + b"general.alignment" + b"\4\0\0\0\x20\0\0\0"
    head = b"GGUF\3\0\0\0" + (2).to_bytes(8, "little") + (1).to_bytes(8, "little") + pair
    gguf = (head + entry(b"w", 0, 0) + entry(b"v", 8, 256)).ljust(1024, b"\1")
    index = b'{"weight_map": {"a.weight": "s.safetensors", "b": "s.safetensors"}}'
    config = (
        b'{"quantization_config": {"config_groups": {"g": {"weights": {"num_bits": 4, "block_structure": [2, 4]}}}}}'
    )
    inputs = [
        *(bytes([0]) + one for one in split),
        *(bytes([1]) + one[8 : _end(one)] + b"\0" + one[_end(one) :] for one in split),
        *(bytes([2]) + one.getvalue() for one in (plain, small)),
        bytes([3]) + array, bytes([4]) + array, bytes([5]) + buffer.getvalue(), bytes([6]) + pickled,
        bytes([7]) + gguf, bytes([8]) + index, bytes([9]) + config,
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs):
        (folder / f"seed{number}").write_bytes(data)
        if read_or_refuse(checkpoint(data, FOLDER)) < 1:
            raise SystemExit(f"seed {number} is no valid checkpoint")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--seed"]:
        seed(Path(sys.argv[2]))
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()
