import subprocess
import sys
import textwrap

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from shrinkscope.errors import WeightsError
from shrinkscope.weights import RemotePath, open_weights
from shrinkscope.weights.remote import connection


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://box/a.npz", "s3://box/a.npz: needs a package that is not there: pip install s3fs"),
        ("gs://box/a.npz", "pip install gcsfs"),
        ("abfs://box@account/a.npz", "pip install adlfs"),
        ("lakefs://box/a.npz", "pip install a backend of fsspec for lakefs"),
        ("nosuch://box/a.npz", r"cannot be opened \(ValueError: Protocol not known: nosuch.*\); check the URL"),
    ],
)
def test_a_storage_without_its_package(monkeypatch, url, said):
    for package in ("s3fs", "gcsfs", "adlfs", "lakefs_spec"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed, which it may be
    with pytest.raises(WeightsError, match=said):
        open_weights(url)


def test_fsspec_is_imported_for_urls_alone_and_http_needs_its_extra(tmp_path):
    # In a process of its own: this one has imported all of it.
    script = """
        import sys
        import torch
        from shrinkscope import compare
        from shrinkscope.weights import open_weights, save_tensors

        save_tensors(sys.argv[1], {"w": torch.ones(4, 4)})
        compare(sys.argv[1], sys.argv[1])
        print(sorted({"fsspec", "aiohttp", "yarl"} & set(sys.modules)))
        sys.modules["aiohttp"] = None
        try:
            open_weights("https://host/a.npz?sig=s3cr3t")
        except Exception as error:
            print(type(error).__name__, error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "a.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    expected = "https://host/a.npz?…: needs a package that is not there: pip install 'shrinkscope[remote]'"
    assert done.stdout.splitlines() == ["[]", f"WeightsError {expected}"]


class Talking(MemoryFileSystem):
    """A storage that says too much."""

    protocol = "talking"

    def __init__(self, *args, secret="", **kwargs):
        super().__init__(*args, **kwargs)
        self.secret = secret

    def info(self, path, **kwargs):
        raise RuntimeError(f"GET https://me:pw1234@host/{path}?sig=abcd failed for {self.secret}\nTraceback: …")


def test_what_a_backend_says_is_shown_without_secrets(monkeypatch):
    monkeypatch.setattr(connection, "_PAUSE", 0.0)
    fsspec.register_implementation("talking", Talking, clobber=True)
    path = RemotePath("talking://box/a.npz", secret="k" * 300, nested={"list": ["other"]})
    with pytest.raises(WeightsError) as error:
        open_weights(path)
    said = str(error.value)
    assert said.startswith(
        "talking://box/a.npz: cannot be read, tried twice (RuntimeError: GET https://… failed for …)"
    )
    assert not any(secret in said for secret in ("pw1234", "abcd", "kkkk", "\n"))
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_options_that_a_backend_refuses(monkeypatch):
    class Refusing(MemoryFileSystem):
        protocol = "refusing"

        def __init__(self, *args, **kwargs):
            raise TypeError("unexpected keyword")

    fsspec.register_implementation("refusing", Refusing, clobber=True)
    with pytest.raises(WeightsError, match=r"cannot be opened \(TypeError: unexpected keyword\); check the URL"):
        open_weights(RemotePath("refusing://box/a.npz", keyword=1))
