"""Waiting until all processes of a job have started.

TensorFlow does so too, but for up to an hour, without reacting to signals meanwhile, and has no
public setting for that.
"""

import select
import socket
import time
from collections.abc import Sequence

from dnnlib.errors import UserError

START_TIMEOUT_S = 300  # for all processes to be there
RETRY_S = 0.2


def meet(addresses: Sequence[str], index: int) -> None:
    """Return in all processes at about the same time: when the last one has called this.

    addresses: "host:port" of each process. The others connect to the first one. All ports are free
    again afterwards. Raises UserError if not all came within START_TIMEOUT_S, or if this process's
    port cannot be used.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    with _listen(addresses[index]) as listener:
        complete = (
            _gather(listener, len(addresses) - 1, deadline)
            if index == 0
            else _report(addresses[0], index, deadline)
        )
    if not complete:
        raise UserError(
            f"worker {index}: the workers {', '.join(addresses)} did not come together; "
            f"start all of them within {START_TIMEOUT_S} s"
        )


def _gather(listener: socket.socket, count: int, deadline: float) -> bool:
    """Wait for processes 1 to `count`, and let all of them go on; return whether all came."""
    connections: dict[int, socket.socket] = {}
    try:
        while len(connections) < count:
            if time.monotonic() > deadline:
                return False
            readable, _, _ = select.select([listener, *connections.values()], [], [], RETRY_S)
            for index, connection in list(connections.items()):
                if connection in readable:  # it has ended: nothing else is sent after its index
                    connections.pop(index).close()
            if listener in readable:
                connection = listener.accept()[0]
                index = _receive_index(connection)
                if 1 <= index <= count:
                    connections[index] = connection
                else:
                    connection.close()
        for connection in connections.values():
            connection.sendall(b"+")
        return True
    finally:
        for connection in connections.values():
            connection.close()


def _receive_index(connection: socket.socket) -> int:
    """Return the index that a process sends; 0 if it is something else that connects."""
    connection.settimeout(5)
    try:
        return int.from_bytes(connection.recv(4), "big")
    except OSError:
        return 0


def _report(address: str, index: int, deadline: float) -> bool:
    """Connect to the first process until it answers that all are there; return whether it did."""
    host, _, port = address.rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(index.to_bytes(4, "big"))
                connection.settimeout(left)
                if connection.recv(1) == b"+":
                    return True
        except OSError:
            pass  # it has not started yet, or has ended
        time.sleep(RETRY_S)
    return False


def _listen(address: str) -> socket.socket:
    port = address.rpartition(":")[2]
    if not port.isdigit():
        raise UserError(f"TF_CONFIG: {address} has no port; write it like {address}:9000")
    try:
        try:
            return socket.create_server(
                ("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True
            )
        except (ValueError, OSError):  # no IPv6 here
            return socket.create_server(("", int(port)))
    except OSError as error:
        raise UserError(
            f"TF_CONFIG: port {port} cannot be used ({error.strerror}); choose another one"
        ) from error
