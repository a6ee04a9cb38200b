"""The server of explore.py: one page, and answers to the states that it sends.

For one's own browser: it answers to no other site's page, reads and writes no file that a request
names, and keeps nothing between requests.
"""

import ipaddress
import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from dnnlib.errors import UserError
from gansformer.explorer import Explorer, State

LONGEST_REQUEST = 100_000  # bytes of a state
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; " \
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; " \
    "frame-ancestors 'none'"  # fmt: skip


class ExplorerServer(ThreadingHTTPServer):
    """Serves one model at http://host:port; port 0 takes one that is free.

    Raises UserError if the address cannot be used.
    """

    daemon_threads = True

    def __init__(self, explorer: Explorer, host: str, port: int):
        self.explorer, self.host = explorer, host
        self.page = files("gansformer").joinpath("explorer.html").read_bytes()
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise UserError(
                f"cannot listen at {host}, port {port} ({error.strerror or error}); "
                "choose another --port or --host"
            ) from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_port}/"

    def is_own_name(self, host: str) -> bool:
        """Whether a Host header is an address or a name of this machine.

        Any other name may belong to a site that made it point here (DNS rebinding).
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            own = {"localhost", self.host.lower(), socket.gethostname().lower()}
            return name in own
        return True

    def handle_error(self, request, client_address) -> None:
        """Say nothing of a browser that has gone."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ExplorerServer
    server_version, sys_version = "explorer", ""
    timeout = 30  # seconds that a request may take to arrive

    def do_GET(self) -> None:
        if not self._is_allowed():
            return
        if self.path == "/":
            self._answer(200, "text/html; charset=utf-8", self.server.page)
        elif self.path == "/model":
            self._answer_json(self.server.explorer.describe())
        else:
            self._refuse(404, "there is no such page")

    def do_POST(self) -> None:
        content = self._read()
        if not self._is_allowed():
            return
        explorer = self.server.explorer
        kinds = {
            "/image": ("application/json", lambda state: _json(explorer.page_image(state))),
            "/w.npz": ("application/octet-stream", explorer.w_file),
            "/video.gif": ("image/gif", explorer.gif),
        }
        if self.path not in kinds:
            self._refuse(404, "there is no such page")
            return
        kind, make = kinds[self.path]
        try:
            answer = make(State.parse(self._parse(content)))
        except UserError as error:
            self._refuse(400, str(error))
            return
        self._answer(200, kind, answer)

    def _is_allowed(self) -> bool:
        """Refuse what another site's page asks, or asked for under another site's name."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not self.server.is_own_name(host):
            self._refuse(403, "unknown host; open the address that explore.py printed")
        elif origin is not None and origin != f"http://{host}":
            self._refuse(403, "requests of other sites are refused")
        else:
            return True
        return False

    def _read(self) -> bytes | None:
        """Return the content of the request, or None if its length is not given, or too much."""
        length = self.headers.get("Content-Length", "")
        is_number = length.isascii() and length.isdigit() and len(length) < 9
        if not is_number or int(length) > LONGEST_REQUEST:
            return None
        return self.rfile.read(int(length))

    def _parse(self, content: bytes | None) -> Any:
        if self.headers.get_content_type() != "application/json":
            raise UserError("expected a state as application/json")
        if content is None:
            raise UserError(f"expected a state of at most {LONGEST_REQUEST} bytes")
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise UserError("expected a state as JSON") from None

    def _refuse(self, status: int, message: str) -> None:
        line = " ".join(message.split())
        self._answer(status, "text/plain; charset=utf-8", f"{line}\n".encode(errors="replace"))

    def _answer_json(self, value: Any) -> None:
        self._answer(200, "application/json", _json(value))

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        """Say nothing of each request."""


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
