"""Which ports the host's own sockets have, and who they belong to: real ones, on the loopback."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from seaway.kernel import sockets
from seaway.model.publications import HeldPort

ME = f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@contextmanager
def bound(address: str, protocol: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, KINDS[protocol]) as made:
        made.bind((address, 0))
        if protocol == "tcp":
            made.listen()
        yield made


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
def test_a_bound_port_is_found_with_its_process(address: str, protocol: str) -> None:
    with bound(address, protocol) as made:
        port = made.getsockname()[1]
        found = sockets.held({(protocol, port)})

    seen = ip_address(address.removeprefix("::ffff:"))
    assert [HeldPort(protocol, seen, port, ME)] == found


def test_a_port_that_nobody_has_and_one_of_the_other_protocol_are_not_found() -> None:
    with bound("127.0.0.1", "tcp") as made:
        port = made.getsockname()[1]
        assert [] == sockets.held({("udp", port)})
    assert [] == sockets.held({("tcp", port)})
    assert [] == sockets.held(set())


def test_a_connection_over_the_loopback_holds_no_port() -> None:
    with (
        bound("127.0.0.1", "tcp") as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert [] == sockets.held({("tcp", client.getsockname()[1])})


LINE = "   0: {local} 00000000000000000000000000000000:0000 {state} 0:0 00:0 0 0 0 {inode} 1 x\n"


def made_of(folder: Path, name: str, local: str, state: str = "0A") -> Path:
    """A /proc with one socket in one list, and a process without any."""
    lists = folder / "self" / "net"
    lists.mkdir(parents=True)
    (folder / "812" / "fd").mkdir(parents=True)
    (lists / name).write_text("head\n" + LINE.format(local=local, state=state, inode=7))
    return folder


def test_a_socket_on_every_ipv6_address_counts_for_ipv4_too(tmp_path: Path) -> None:
    proc = made_of(tmp_path, "tcp6", "0" * 32 + ":0016")

    assert ["::", "0.0.0.0"] == [str(h.address) for h in sockets.held({("tcp", 22)}, proc=proc)]


ESTABLISHED, TIME_WAIT = "01", "06"


def test_a_connection_by_a_wire_holds_its_port_as_long_as_a_socket_has_it(tmp_path: Path) -> None:
    proc = made_of(tmp_path, "tcp", "0200000A:C1B8", ESTABLISHED)
    (proc / "812" / "fd" / "3").symlink_to("socket:[7]")
    (proc / "812" / "comm").write_text("ssh\n")
    found = HeldPort("tcp", ip_address("10.0.0.2"), 49592, "ssh (process 812)")
    assert [found] == sockets.held({("tcp", 49592)}, proc=proc)

    left = LINE.format(local="0200000A:C1B8", state=TIME_WAIT, inode=0)
    (proc / "self" / "net" / "tcp").write_text(f"head\n{left}")
    assert [] == sockets.held({("tcp", 49592)}, proc=proc)


def test_a_socket_of_no_process_is_told_as_such(tmp_path: Path) -> None:
    proc = made_of(tmp_path, "udp", "00000000:CA6C", "07")

    (found,) = sockets.held({("udp", 51820)}, proc=proc)
    assert "a socket of this host that no process has" == found.holder


def test_the_holder_is_named_by_its_command(tmp_path: Path) -> None:
    proc = made_of(tmp_path, "tcp", "00000000:0016")
    (proc / "812" / "fd" / "3").symlink_to("socket:[7]")
    (proc / "812" / "fd" / "4").symlink_to("socket:[8]")
    (proc / "812" / "comm").write_text("sshd\n")

    (found,) = sockets.held({("tcp", 22)}, proc=proc)
    assert "sshd (process 812)" == found.holder


def test_what_a_runtime_keeps_for_a_container_is_free_for_that_container_alone(
    tmp_path: Path,
) -> None:
    proc, run = made_of(tmp_path / "proc", "tcp", "00000000:0016"), tmp_path / "run"
    (proc / "812" / "fd" / "3").symlink_to("socket:[7]")
    (proc / "812" / "comm").write_text("conmon\n")
    (proc / "812" / "cmdline").write_bytes(b"conmon\0-c\0podmans\0-u\0x\0")
    (run / "nerdctl" / "blue" / "id").mkdir(parents=True)
    (run / "nerdctl" / "blue" / "id" / "port-reserver.pid").write_text("812")

    for container in ("podmans", "blue-id"):
        assert [] == sockets.held({("tcp", 22)}, container, proc, run)
    for container in ("", "x", "-c", "blue", "id"):
        (found,) = sockets.held({("tcp", 22)}, container, proc, run)
        assert "conmon (process 812)" == found.holder
