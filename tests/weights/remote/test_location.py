import pytest

from shrinkscope.errors import WeightsError
from shrinkscope.weights.remote.location import Location, is_url, local_path, masked


@pytest.mark.parametrize(
    ("url", "name", "child", "parent"),
    [
        ("s3://box/a/b.npz", "b.npz", "s3://box/a/b.npz/c", "s3://box/a/"),
        ("s3://box/a/", "a", "s3://box/a/c", "s3://box/"),
        ("S3://box", "box", "s3://box/c", "s3:///"),
        ("https://host/a%20b.pt?sig=1", "a b.pt", "https://host/a%20b.pt/c?sig=1", "https://host/?sig=1"),
        ("https://host/d/#part", "d", "https://host/d/c", "https://host/"),
        ("hf://org/model@main/x.gguf", "x.gguf", "hf://org/model@main/x.gguf/c", "hf://org/model@main/"),
    ],
)
def test_a_url_is_taken_apart(url, name, child, parent):
    location = Location.of(url)
    assert (location.name, location.child("c").url, location.parent.url) == (name, child, parent)


def test_names_are_escaped_on_web_servers_alone():
    assert Location.of("https://host/d/").child("a b#c.npz").url == "https://host/d/a%20b%23c.npz"
    assert Location.of("s3://box/d/").child("a b#c.npz").path == "box/d/a b#c.npz"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host:80/a.pt", "https://host:80/a.pt"),
        ("https://token@host/a.pt?x=1#part", "https://host/a.pt?…"),
        ("sftp://me@host/a.pt", "sftp://host/a.pt"),
        ("custom://me:secret@host/a.pt", "custom://host/a.pt"),
        ("abfs://box@account.host/a.pt", "abfs://box@account.host/a.pt"),
        ("hf://org/model@main/a.pt", "hf://org/model@main/a.pt"),
        ("s3://box/a.pt?versionId=7", "s3://box/a.pt?…"),
        ("http://me@[::1]:80/a*.pt", "http://[::1]:80/a*.pt"),
    ],
)
def test_nothing_secret_is_shown(url, shown):
    assert masked(url) == Location.of(url).shown == shown


def test_a_key_tells_objects_apart_and_forgets_signatures():
    signed = "https://host/get?id=7&X-Amz-Signature=abc&X-Amz-Credential=me&X-Amz-Date=1&sig=x&se=y&Expires=9"
    assert Location.of(signed).key == Location.of("https://host/get?id=7&X-Amz-Signature=other").key
    assert Location.of(signed).key != Location.of("https://host/get?id=8").key
    for secret in ("abc", "me", "=x", "=y"):
        assert secret not in Location.of(signed).key.partition("?")[2]


def test_paths_are_no_urls():
    assert not any(is_url(text) for text in ("a.npz", "/a//b.npz", "C:\\a.npz", "c:/a.npz"))


def test_files_have_paths():
    assert local_path("file://localhost/a/b%23.npz") == "/a/b#.npz"
    with pytest.raises(WeightsError, match="names a file of another machine"):
        local_path("file://server/a.npz")


@pytest.mark.parametrize("url", ["s3://", "https:///", "model.pt"])
def test_a_url_without_a_place(url):
    with pytest.raises(WeightsError, match="is no URL of an object; expected scheme://place/file"):
        Location.of(url)


@pytest.mark.parametrize("url", ["zip://a.pt::s3://box/x.zip", "s3://box/*.safetensors"])
def test_chains_and_patterns(url):
    with pytest.raises(WeightsError, match="chained URLs and patterns are not read"):
        Location.of(url)
