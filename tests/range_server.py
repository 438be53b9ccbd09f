"""A web server in a thread, with ranges, whose objects a test can change, cut and refuse; it counts what it sends."""

import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves the objects of its server."""

    protocol_version = "HTTP/1.1"
    server: "RangeServer"  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self):
        server, path = self.server, self.path.partition("?")[0].lstrip("/")
        with server.lock:
            server.requests.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        data = server.objects.get(path)
        if data is None:
            self.reply(404, b"")
        elif server.secret is not None and server.secret not in self.path:
            self.reply(403, b"the signature does not match")
        else:
            (server.answer or Handler.ranged)(self, data)

    def ranged(self, data: bytes) -> None:
        """The range that was asked for, with the whole size and the ETag."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        assert found is not None, "everything is read in ranges"
        first, last = int(found[1]), min(int(found[2]), len(data) - 1)
        if first > last:
            self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        self.reply(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send an answer whole, and count its body."""
        self.send_response(status)
        with self.server.lock:
            self.server.sent += len(body)
            marks = {"ETag": self.server.etag} if self.server.etag and status < 300 else {}
        for name, value in {"Content-Length": str(len(body)), **marks, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


class RangeServer(ThreadingHTTPServer):
    """The server; ``with`` starts and ends it.

    Attributes:
        objects: Name → content.
        etag: Of every object.
        answer: Replaces the handler's answer to a request for an object that is there.
        secret: What the URL has to contain.
        requests: Path, range and authorization of every request.
        sent: Bytes of all bodies.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.etag: str | None = '"one"'
        self.answer: Answer | None = None
        self.secret: str | None = None
        self.requests: list[tuple[str, str | None, str | None]] = []
        self.sent = 0
        self.lock = threading.Lock()

    def url(self, name: str) -> str:
        """Where an object lies."""
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def forget(self) -> None:
        """Count from zero."""
        self.requests, self.sent = [], 0

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no error here."""

    def __enter__(self) -> "RangeServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
