"""Hosts with a `routed` each, in network namespaces that are linked as a test wants."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Protocol

from authority import Authority
from namespaces import Netns, namespaces
from seaway.lab.hosts import SEAWAY
from seaway.model.routing import ORDERS_KEY, Member, Orders
from seaway.routed.orders_file import OrdersTarget
from waiting import wait

HERE = Path(__file__).parent
Vias = dict[str, str]  # by destination: the next hop


@dataclass
class Host:
    """One, with its own files."""

    name: str
    number: int
    netns: Netns
    folder: Path
    links: dict[str, str] = field(default_factory=dict)  # by the other host: the device
    routed: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> IPv4Address:
        return IPv4Address(f"192.0.2.{self.number}")

    @property
    def socket(self) -> Path:
        return self.folder / "routed.sock"

    def order(self, hosts: Iterable[Host], **more: Any) -> None:
        members = tuple(
            Member(name=h.name, number=h.number, underlay=(h.address,)) for h in hosts if h != self
        )
        orders = Orders(
            host=self.name,
            number=self.number,
            underlay=(self.address,),
            members=members,
            **more,
        )
        OrdersTarget(self.folder / "routed.json").put({ORDERS_KEY: orders})

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.netns.name, *command], stdout=log, stderr=log
            )

    def python(self, program: str, *arguments: str) -> None:
        command = ["ip", "netns", "exec", self.netns.name, sys.executable, "-c", program]
        subprocess.run([*command, *arguments], check=True, timeout=60)

    def start(self) -> None:
        self.routed = self.run(
            *(SEAWAY, "routed", "--run", str(self.folder), "--trust", str(self.folder)),
            *("--link-state", str(self.folder / "link-state"), "--pins", str(self.folder)),
        )

    def kill(self) -> None:
        assert self.routed is not None
        self.routed.kill()
        self.routed.wait(60)

    def ask(self, **question: Any) -> Any:
        """One answer."""
        with connected(self) as client, client.makefile() as lines:
            client.settimeout(30)
            client.sendall(json.dumps(question).encode() + b"\n")
            return json.loads(lines.readline())

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def memory(self) -> float:
        """MB that are its own."""
        assert self.routed is not None
        found = Path(f"/proc/{self.routed.pid}/smaps_rollup").read_text()
        return sum(int(n) for n in re.findall(r"^(?:Rss): +(\d+) kB", found, re.MULTILINE)) / 1024

    def cpu(self) -> float:
        """Seconds that its `routed` took so far."""
        assert self.routed is not None
        found = Path(f"/proc/{self.routed.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(found[11]) + int(found[12])) / 100


class Answering(Protocol):
    """A host with a `routed`."""

    @property
    def socket(self) -> Path: ...

    def log(self) -> str: ...


def connected(host: Answering) -> socket.socket:
    """As soon as it answers."""
    client = socket.socket(socket.AF_UNIX)

    def connects() -> bool:
        with suppress(OSError):
            client.connect(str(host.socket))
            return True
        return False

    if not wait(connects, 60):
        client.close()
        raise AssertionError(host.log())
    return client


class Follower:
    """What a host tells of its paths, with the time of each change."""

    def __init__(self, host: Answering) -> None:
        self.vias: dict[str, Vias] = {}
        self.turns: list[tuple[float, dict[str, Any]]] = []
        self._client = connected(host)
        self._client.sendall(b'{"ask": "paths"}\n')
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._client.makefile() as lines:
            for line in lines:
                self._note(json.loads(line))

    def _note(self, turn: dict[str, Any]) -> None:
        known = self.vias.setdefault(turn["routing"], {})
        kept = {} if turn["whole"] else {h: v for h, v in known.items() if h not in turn["gone"]}
        found = {path["host"]: path["via"] for path in turn["paths"]}
        self.vias[turn["routing"]] = kept | found
        self.turns.append((time.monotonic(), turn))

    def close(self) -> None:
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._client.close()

    def knows(self, vias: Vias, routing: str = "hops", within: float = 60.0) -> float:
        """When it knew this."""
        assert wait(lambda: self.vias.get(routing) == vias, within), self.vias
        return self.turns[-1][0]


class Cluster:
    """All hosts of a test."""

    def __init__(self, folder: Path, make: Callable[[], Netns], stack: ExitStack) -> None:
        self.hosts: dict[str, Host] = {}
        self._folder = folder
        self._make = make
        self._stack = stack
        self._authority = Authority()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def add(self, *names: str) -> None:
        for name in names:
            folder = self._folder / name
            folder.mkdir()
            host = Host(name, len(self.hosts) + 1, self._make(), folder)
            (folder / "ca.pem").write_bytes(self._authority.pem)
            (folder / "host.pem").write_bytes(self._authority.host(name))
            host.netns.run(f"ip link set lo up; ip addr add {host.address}/32 dev lo")
            self.hosts[name] = host
            self.answer(name)

    def answer(self, name: str) -> None:
        """What from_wire does, for as long as the test: like that, before all other work."""
        process = self[name].run("nice", "-n", "-20", sys.executable, str(HERE / "answerer.py"))
        self._stack.callback(_end, process)

    def link(self, one: str, other: str) -> None:
        """A wire between the two, and nobody else on it."""
        a, b = self[one], self[other]
        a.links[other], b.links[one] = f"to-{other}", f"to-{one}"
        a.netns.run(
            f"ip link add to-{other} type veth peer name to-{one} netns {b.netns.name}"
            f"; ip link set to-{other} up"
        )
        b.netns.run(f"ip link set to-{one} up")
        for host, far in ((a, b), (b, a)):
            route = f"ip route add {far.address}/32 dev to-{far.name} src {host.address}"
            host.netns.run(route)

    def wire(self, *names: str) -> IPv4Network:
        """All of these on one; its prefix."""
        net = IPv4Network("192.0.2.0/24")
        hub = self._make()
        hub.run("ip link add wire type bridge; ip link set wire up")
        for name in names:
            host = self[name]
            hub.run(f"ip link add to-{name} type veth peer name wire netns {host.netns.name}")
            hub.run(f"ip link set to-{name} master wire up")
            host.netns.run(f"ip addr flush dev lo; ip addr add {host.address}/24 dev wire")
            host.netns.run("ip link set lo up; ip link set wire up")
        return net

    def start(self, **more: Any) -> None:
        for host in self.hosts.values():
            host.order(self.hosts.values(), **more)
            host.start()
            self._stack.callback(lambda host=host: host.routed and _end(host.routed))

    def follow(self, name: str) -> Follower:
        follower = Follower(self[name])
        self._stack.callback(follower.close)
        return follower

    def silence(self, one: str, *others: str) -> float:
        """The wires between them carry nothing any more, and nobody is told; when that was."""
        host = self[one]
        devices = ", ".join(f'"{host.links[other]}"' for other in others)
        host.netns.run("nft -f -", DROP.format(devices=devices))
        return time.monotonic()

    @contextmanager
    def loaded(self, one: str, other: str) -> Iterator[None]:
        """As fast as their wire now is, something is sent to the other: its queue is full."""
        host = self[one]
        host.netns.run(SLOW.format(device=host.links[other]))
        process = host.run(sys.executable, "-c", SENDER, str(self[other].address))
        try:
            yield
        finally:
            _end(process)

    @contextmanager
    def flooding(self, one: str, other: str, victim: str, what: str) -> Iterator[None]:
        """In the place of its `routed` a host says of the victim what is `old`, or `forged`."""
        host, target = self[one], self[other]
        words = (str(host.folder), other, str(target.address), victim, what)
        process = host.run(sys.executable, str(HERE / "flooder.py"), *words)
        try:
            yield
        finally:
            _end(process)

    def drop(self, one: str, sender: str, what: str) -> None:
        """Of what the sender sends it by their wire, in the words of nft; nobody is told."""
        device = self[one].links[sender]
        self[one].netns.run("nft -f -", DROP_SOME.format(sender=sender, device=device, what=what))

    def restore(self, one: str) -> None:
        self[one].netns.run("nft delete table inet silence")


SLOW = "tc qdisc add dev {device} root tbf rate 5mbit burst 5kb limit 500kb"
SENDER = """
import socket, sys
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 50_000)  # what waits: it blocks then
made.connect((sys.argv[1], 9))
while True:
    try:
        made.send(bytes(1400))
    except ConnectionRefusedError:
        pass
"""
DROP = """
table inet silence {{
  chain in {{ type filter hook prerouting priority raw; iifname {{ {devices} }} drop; }}
  chain out {{ type filter hook output priority raw; oifname {{ {devices} }} drop; }}
}}
"""

DROP_SOME = """
table inet drop-{sender} {{
  chain in {{ type filter hook prerouting priority raw; iifname "{device}" {what} drop; }}
}}
"""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(60)


@contextmanager
def clusters(folder: Path) -> Iterator[Cluster]:
    """One. All of it is gone afterwards."""
    with namespaces() as make, ExitStack() as stack:
        yield Cluster(folder, make, stack)
