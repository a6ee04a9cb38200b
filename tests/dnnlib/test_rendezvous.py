"""Processes of a job wait for each other before TensorFlow connects them."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import dnnlib.rendezvous
from dnnlib.errors import UserError
from dnnlib.launching import find_ports
from dnnlib.rendezvous import meet


def make_addresses(count):
    return [f"127.0.0.1:{port}" for port in find_ports(count)]


def meet_after(addresses, index, seconds):
    time.sleep(seconds)
    meet(addresses, index)
    return time.monotonic()


def test_all_go_on_when_the_last_one_has_come():
    addresses, started = make_addresses(3), time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        delays = {0: 0.3, 1: 0.0, 2: 0.9}
        ended = list(pool.map(lambda item: meet_after(addresses, *item), delays.items()))
    assert min(ended) > started + 0.9 and max(ended) - min(ended) < 0.5
    for address in addresses:  # the ports are free again, for TensorFlow
        socket.create_server(("", int(address.rpartition(":")[2]))).close()


def test_other_connections_and_processes_that_have_ended_do_not_count(monkeypatch):
    monkeypatch.setattr(dnnlib.rendezvous, "START_TIMEOUT_S", 1.5)
    addresses = make_addresses(3)
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(meet, addresses, 0)
        time.sleep(0.3)
        for message in (b"GET / HTTP/1.0\r\n\r\n", *(n.to_bytes(4, "big") for n in (7, 1))):
            with socket.create_connection(("127.0.0.1", int(addresses[0][10:]))) as connection:
                connection.sendall(message)
        time.sleep(0.3)
        pool.submit(meet, addresses, 2)
        with pytest.raises(UserError, match="did not come together; start all of them within"):
            chief.result()


@pytest.mark.parametrize("index", [0, 1])
def test_nobody_waits_without_end(monkeypatch, index):
    monkeypatch.setattr(dnnlib.rendezvous, "START_TIMEOUT_S", 0.5)
    with pytest.raises(UserError, match=f"worker {index}: the workers 127.0.0.1:"):
        meet(make_addresses(2), index)


def test_a_port_that_cannot_be_used():
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be used"):
            meet([f"127.0.0.1:{port}", "127.0.0.1:1"], 0)
    with pytest.raises(UserError, match="has no port"):
        meet(["here", "there"], 0)
