"""A web server on the loopback interface that misbehaves as told."""

import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Loopback:
    """`routes` maps a path to a function of the request handler; `requests` logs what came in."""

    def __init__(self, server):
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        self.routes: dict[str, Callable] = {}
        self.requests: list[tuple[str, str | None]] = []  # (path with query, Range header)
        self.body_bytes = 0

    def url(self, path: str) -> str:
        return self.address + path


@contextmanager
def start_server():
    """Yield a running `Loopback`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            loopback.requests.append((self.path, self.headers["Range"]))
            loopback.routes.get(path, not_found)(self)

        def log_message(self, *arguments):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that went away
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    loopback = server.loopback = Loopback(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield loopback
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler, status, body=b"", *, cut_after=None, length=True, **headers):
    """Send a response; names of headers have `_` for `-`. cut_after: bytes of the body sent."""
    handler.send_response(status)
    if length:
        handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    body = body if cut_after is None else body[:cut_after]
    handler.wfile.write(body)
    handler.server.loopback.body_bytes += len(body)


def not_found(handler):
    answer(handler, 404, b"<html>no</html>", Content_Type="text/html")


def page(text: str, status: int = 200, **headers) -> Callable:
    """Return a route that sends an HTML page."""
    return lambda handler: answer(
        handler, status, text.encode(), Content_Type="text/html; charset=utf-8", **headers
    )


def redirect(address: str) -> Callable:
    return lambda handler: answer(handler, 302, Location=address)


def file(content: bytes, *, ranges=True, cuts=(), **headers) -> Callable:
    """Return a route that sends `content`, cutting the n-th response after `cuts[n]` bytes.

    It understands Range (unless told otherwise) and If-Range.
    """
    remaining_cuts = list(cuts)

    def route(handler):
        cut = remaining_cuts.pop(0) if remaining_cuts else None
        wanted, condition = handler.headers["Range"], handler.headers["If-Range"]
        validators = (None, headers.get("ETag"), headers.get("Last_Modified"))
        if not (ranges and wanted and condition in validators):
            answer(handler, 200, content, cut_after=cut, **headers)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            answer(handler, 416, Content_Range=f"bytes */{len(content)}", **headers)
            return
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        answer(handler, 206, content[start:], cut_after=cut, Content_Range=span, **headers)

    return route
