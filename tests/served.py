"""A real HTTP server on this machine for the tests of downloads, well-behaved or not."""

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Resource:
    """What a path answers: the body, whether it knows ranges, after how many bytes it hangs up."""

    body: bytes
    ranges: bool = True
    cut_after: int | None = None  # bytes of each answer
    modified: str | None = "Wed, 01 Jan 2020 00:00:00 GMT"
    status: int = 200
    length: bool = True


@dataclass
class Served:
    """The server's address, what it serves, and the requests it got: (path, Range)."""

    url: str
    resources: dict[str, Resource] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Answers from `served.resources`."""

    served: Served
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.served.requests.append((self.path, self.headers.get("Range")))
        resource = self.served.resources.get(self.path, Resource(b"nothing here", status=404))
        start = self._start(resource)
        if start is not None and start >= len(resource.body):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = resource.body[start or 0 :]
        self.send_response(206 if start is not None else resource.status)
        if start is not None:
            last, size = len(resource.body) - 1, len(resource.body)
            self.send_header("Content-Range", f"bytes {start}-{last}/{size}")
        if resource.modified:
            self.send_header("Last-Modified", resource.modified)
        if resource.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: resource.cut_after])
        if resource.cut_after is not None or not resource.length:
            self.close_connection = True

    def _start(self, resource):
        """First byte asked for; None if the whole file is to be sent."""
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(span[1]) if span and resource.ranges else None

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    """A `Served` that answers until the end of the block."""
    handler = type("Handler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.served = Served(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield handler.served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
