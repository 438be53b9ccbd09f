"""Which version of an object is read: what its storage tells of it with each answer."""

from collections.abc import Mapping
from typing import Any

import msgspec

from shrinkscope.errors import WeightsError
from shrinkscope.weights.remote.location import Location

_STRONG = ("etag", "md5hash", "md5", "content_md5", "generation", "versionid", "version_id", "sha256", "blob_id")
"""What changes with every change of the content, in the spellings of fsspec's backends, lower case."""

_WEAK = ("lastmodified", "last_modified", "last-modified", "updated", "modified", "mtime", "created")
"""What changes with most changes."""


class Version(msgspec.Struct, frozen=True):
    """One version of an object.

    Attributes:
        size: Its bytes.
        marks: What the storage tells of it, by name; another value of any of them is another version.
        strong: Whether one of the marks changes with every change of the content.
    """

    size: int
    marks: tuple[tuple[str, str], ...]
    strong: bool

    @staticmethod
    def of(size: int, told: Mapping[str, Any]) -> "Version":
        """The version that an answer tells of.

        Args:
            size: Its bytes.
            told: Headers of a web server, or what fsspec's ``info`` gives.
        """
        lower = {str(name).lower(): value for name, value in told.items()}
        lower.setdefault("sha256", _nested(lower.get("lfs"), "sha256"))  # of Hugging Face's large files
        marks = {name: _text(lower[name]) for name in (*_STRONG, *_WEAK) if lower.get(name)}
        # RFC 9110, section 8.8.1: a weak ETag stays when the change is thought not to matter.
        strong = any(name in _STRONG and not value.startswith("W/") for name, value in marks.items())
        return Version(size, tuple(sorted(marks.items())), strong)

    def same(self, other: "Version") -> bool:
        """Whether another answer is of this version: what both of them tell agrees."""
        mine, its = dict(self.marks), dict(other.marks)
        return self.size == other.size and all(mine[name] == its[name] for name in mine.keys() & its.keys())


def changed(location: Location) -> WeightsError:
    """The error of an object that is another version than when it was opened."""
    return WeightsError(f"{location.shown}: was changed while it was read; compare it again")


def _nested(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
