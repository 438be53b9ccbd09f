from datetime import UTC, datetime

import pytest

from shrinkscope.weights.remote.version import Version


@pytest.mark.parametrize(
    ("told", "strong"),
    [
        ({"ETag": '"abc"'}, True),  # s3fs, and headers of web servers
        ({"etag": b"\x01\x02"}, True),
        ({"ETag": 'W/"abc"', "Last-Modified": "today"}, False),
        ({"generation": "17"}, True),  # gcsfs
        ({"content_settings": {}, "md5Hash": "x"}, True),
        ({"lfs": {"sha256": "f"}, "blob_id": "x"}, True),  # Hugging Face
        ({"created": datetime(2026, 1, 1, tzinfo=UTC)}, False),  # memory
        ({}, False),
    ],
)
def test_what_changes_with_the_content(told, strong):
    version = Version.of(5, told)
    assert version.strong is strong
    assert version.same(Version.of(5, told))
    assert not version.same(Version.of(6, told))


@pytest.mark.parametrize("name", ["ETag", "generation", "Last-Modified", "lfs"])
def test_another_value_is_another_version(name):
    one, other = ({name: {"sha256": mark} if name == "lfs" else mark} for mark in "ab")
    assert not Version.of(5, one).same(Version.of(5, other))


def test_what_only_one_answer_tells_is_not_compared():
    assert Version.of(5, {"ETag": "a", "Last-Modified": "b"}).same(Version.of(5, {"ETag": "a"}))
