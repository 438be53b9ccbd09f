"""The kinds of storage, each behind the same few questions, and what is said when one cannot be used."""

import re
from collections.abc import Iterator
from typing import Any, Protocol

from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.checks import first_line
from shrinkscope.weights.remote.location import Location
from shrinkscope.weights.remote.version import Version

_PACKAGES = (
    dict.fromkeys(("s3", "s3a"), "s3fs")
    | dict.fromkeys(("gs", "gcs"), "gcsfs")
    | dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs")
    | dict.fromkeys(("http", "https"), "'shrinkscope[remote]'")
    | dict.fromkeys(("sftp", "ssh"), "paramiko")
    | {"hf": "huggingface_hub", "oci": "ocifs", "oss": "ossfs", "smb": "smbprotocol"}
)
"""What fsspec's backends need, by scheme."""

_URL_IN_TEXT = re.compile(r"(\w+://)[^\s'\"<>]+")
_SHORTEST = 4  # characters of an option that may be a secret: shorter ones would make a message unreadable


class Backend(Protocol):
    """A kind of storage."""

    tells_versions: bool
    """Whether ``range`` itself makes sure of the version."""

    def look(self, location: Location, length: int) -> tuple[Version | None, bytes]:
        """The version of an object, None of a directory, and as many of its first bytes as cost no further request."""
        ...

    def range(self, location: Location, known: Version, begin: int, stop: int) -> bytes | bytearray:
        """The bytes [begin, stop) of an object."""
        ...

    def names(self, location: Location) -> list[str]:
        """The names of what lies in a directory."""
        ...


def opened(url: str, options: dict[str, Any]) -> Backend:
    """The storage of a URL.

    Args:
        url: Of an object or a directory.
        options: Settings of fsspec's backend.

    Raises:
        WeightsError: If fsspec knows no such storage, its package is not installed, or it refuses the settings.
    """
    # Here: a comparison of files does not need it.
    import fsspec
    from fsspec.core import url_to_fs

    location = Location.of(url)
    try:
        fsspec.get_filesystem_class(location.scheme)
        system, _ = url_to_fs(url, **options)
        if location.web:
            from shrinkscope.weights.remote.web import Web

            return Web(system)
    except ImportError:
        package = _PACKAGES.get(location.scheme, f"a backend of fsspec for {location.scheme}")
        raise WeightsError(f"{location.shown}: needs a package that is not there: pip install {package}") from None
    except Exception as error:
        said = first_line_without(error, url, options)
        raise WeightsError(f"{location.shown}: cannot be opened ({said}); check the URL and its options") from None
    from shrinkscope.weights.remote.stores import Stores

    return Stores(system)


def first_line_without(error: Exception, url: str, options: dict[str, Any]) -> str:
    """What an error says, without URLs and without any text of the options.

    Args:
        error: A backend's.
        url: That was asked for.
        options: Settings of the backend.
    """
    text = f"{type(error).__name__}: {error}" if str(error).strip() else type(error).__name__
    secrets = [*_texts(options), Location.of(url).query]
    for secret in sorted((one for one in secrets if len(one) >= _SHORTEST), key=len, reverse=True):
        text = text.replace(secret, "…")
    return first_line(Exception(_URL_IN_TEXT.sub(r"\1…", text)))


def _texts(options: Any) -> Iterator[str]:
    if isinstance(options, dict):
        for value in options.values():
            yield from _texts(value)
    elif isinstance(options, (list, tuple)):
        for value in options:
            yield from _texts(value)
    elif isinstance(options, str):
        yield options
