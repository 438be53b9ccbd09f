"""Where an object lies: a URL taken apart, and what of it may be shown."""

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from urllib.request import url2pathname

import msgspec

from shrinkscope.errors import WeightsError

WEB = ("http", "https")
"""Schemes of which the servers list nothing."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_CHAINED = re.compile(r"::[A-Za-z][A-Za-z0-9+.-]*(://|$)")
_LOCAL = ("file", "local")
_SECRET = re.compile(r"sig|token|credential|secret|password|key|auth|policy|expires|date|security|^s[a-z]{1,2}$", re.I)
"""Names of what a signed URL carries; those of two letters and three are Azure's (sv, se, sp, skt, …)."""

_MASKED = "…"


class Location(msgspec.Struct, frozen=True):
    """A URL in parts.

    Attributes:
        scheme: What fsspec knows the kind of storage by, in lower case.
        path: Host or bucket, and the place in it; ends with a slash where it is meant as a directory.
        query: What stands behind the question mark: often a signature, and never shown.
    """

    scheme: str
    path: str
    query: str = ""

    @staticmethod
    def of(url: str) -> "Location":
        """Take a URL apart.

        Args:
            url: Such as ``s3://bucket/model.safetensors``.

        Raises:
            WeightsError: If it is no URL of one object or directory.
        """
        found = _URL.fullmatch(url)
        if found is None or not found[2].strip("/"):
            raise WeightsError(f"{masked(url)}: is no URL of an object; expected scheme://place/file")
        scheme, (path, _, query) = found[1].lower(), found[2].partition("#")[0].partition("?")
        if _CHAINED.search(path) or ("*" in path and scheme not in WEB):
            raise WeightsError(f"{masked(url)}: chained URLs and patterns are not read; give the URL of one object")
        return Location(scheme, path, query)

    @property
    def url(self) -> str:
        """The whole URL, secrets included."""
        return f"{self.scheme}://{self.path}" + (f"?{self.query}" if self.query else "")

    @property
    def web(self) -> bool:
        """Whether it lies on a web server."""
        return self.scheme in WEB

    @property
    def name(self) -> str:
        """The last part of the path."""
        name = self.path.rstrip("/").rpartition("/")[2]
        return unquote(name) if self.web else name

    def child(self, name: str) -> "Location":
        """What lies in it under this name, reached with the same signature."""
        return Location(self.scheme, f"{self.path.rstrip('/')}/{quote(name) if self.web else name}", self.query)

    @property
    def parent(self) -> "Location":
        """The directory that it lies in."""
        return Location(self.scheme, self.path.rstrip("/").rpartition("/")[0] + "/", self.query)

    @property
    def shown(self) -> str:
        """The URL as it may be written anywhere: without user, password and query."""
        return masked(self.url)

    @property
    def key(self) -> str:
        """What tells it from other objects: the shown URL, and of the query what is no part of a signature."""
        rest = sorted(pair for pair in parse_qsl(self.query, keep_blank_values=True) if not _SECRET.search(pair[0]))
        return f"{self.shown}{rest or ''}"


def is_url(text: str) -> bool:
    """Whether a text is meant as a URL.

    >>> is_url("s3://bucket/model.safetensors"), is_url("model.safetensors"), is_url("C:/model.safetensors")
    (True, False, False)
    """
    return _URL.fullmatch(text) is not None


def local_path(url: str) -> str | None:
    """The path of a ``file://`` URL, which is read as any other path; None for all others.

    Raises:
        WeightsError: If it names another machine.

    >>> local_path("file:///models/a%20b.npz"), local_path("s3://bucket/a.npz")
    ('/models/a b.npz', None)
    """
    parts = urlsplit(url)
    if parts.scheme not in _LOCAL:
        return None
    if parts.netloc not in ("", "localhost"):
        raise WeightsError(f"{masked(url)}: names a file of another machine; expected file:///path")
    return url2pathname(parts.path)


def masked(url: str) -> str:
    """A URL without user, password and query.

    An account in front of the host stays where it is none of these: Azure's ``abfs://container@account/…``.

    >>> masked("https://me:secret@host/a.pt?X-Amz-Signature=77"), masked("abfs://box@account.dfs.core.windows.net/a.pt")
    ('https://host/a.pt?…', 'abfs://box@account.dfs.core.windows.net/a.pt')
    """
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("#")[0].partition("?")
    host, slash, path = rest.partition("/")
    user, at, place = host.rpartition("@")
    if at and (":" in user or scheme.lower() in (*WEB, "ftp", "sftp", "ssh", "smb", "webdav")):
        host = place
    return f"{scheme}://{host}{slash}{path}" + (f"?{_MASKED}" if query else "")
