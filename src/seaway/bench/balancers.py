"""What gives services virtual addresses, on hosts of their own: ours, and rules of the kernel's.

A host has so many services. One is asked by the traffic that is measured, and has the container
`server` alone behind it; the others have ten backends each, and nobody asks them. Beside that a
runner has as many in other tables: how long that takes is measured, too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from seaway import names
from seaway.bench.kube_rules import RULESETS
from seaway.bench.many_services import LABEL, NETWORK, Backed, Place, objects, simulated
from seaway.bench.ours import attach
from seaway.bench.ports import PORTS
from seaway.bench.runner import Runner, ask
from seaway.bench.systems import Pair, Party, host_netns, make_netns, netns_path
from seaway.bench.traffic import pin
from seaway.client import Client
from seaway.lab import LabHost
from seaway.model.addresses import Address
from seaway.model.requests import NewService
from seaway.model.services import ServicePort

DIRECT, OURS = "direct", "seaway-vip"
RULES: Final = tuple(RULESETS)  # the peers
_ASKED: Final = "asked"  # the service, and the label of its backend
_NUMBERS: Final = tuple(port.number for port in PORTS if port.protocol == "tcp")
_PATIENCE: Final = 1800.0  # seconds: thousands of services in one transaction of a peer
# Of the peers: the container's place, and the host's in front of it.
_ENDS: Final = {"client": ("10.218.0.2", "10.218.0.1"), "server": ("10.218.1.2", "10.218.1.1")}
_VIP: Final = IPv4Address("172.31.0.1")
_TABLES: Final = "tables"  # the network namespace in which a peer is programmed


class Balancer(ABC):
    name: str
    systems: tuple[str, ...]  # that are measured on its host
    programmed: str  # the one of them whose services are programmed

    @abstractmethod
    def missing(self) -> str:
        """What this machine lacks to run it; empty if nothing."""

    @abstractmethod
    def balancing(self, host: LabHost, services: int) -> AbstractContextManager[Mapping[str, Pair]]:
        """Set it up on a host of its own, with so many services. Who asks whom, by system."""

    @abstractmethod
    def programming(self, host: LabHost, services: int, cpu: int) -> AbstractContextManager[Runner]:
        """What programs so many, on the same host or on another, on this CPU."""


class SeawayServices(Balancer):
    """The two containers are the same for both systems: the client asks the server by its own
    address, or by the service's.
    """

    name = "seaway"
    systems = (DIRECT, OURS)
    programmed = OURS

    def missing(self) -> str:
        return ""

    @contextmanager
    def balancing(self, host: LabHost, services: int) -> Iterator[Mapping[str, Pair]]:
        host.start_agent()
        make_netns(host, "client", "server")
        client = Party(netns_path(host, "client"), attach(host, "client", 4), host)
        own = attach(host, "server", 4, f"--label={LABEL}={_ASKED}")
        asked = {DIRECT: own, OURS: _serve(host, services)}
        server = netns_path(host, "server")
        yield {
            name: Pair(client, Party(server, address, host), host_netns(host))
            for name, address in asked.items()
        }

    def programming(self, host: LabHost, services: int, cpu: int) -> AbstractContextManager[Runner]:
        command = (sys.executable, "-m", "seaway.bench.service_trials", str(services))
        return _running(host, pin(cpu, *command))


def _serve(host: LabHost, services: int) -> Address:
    """The address of the one that is asked. Once this returns, all are in the maps."""
    agent = Client(Path(f"/proc/{host.pid}/root{names.SOCKET}"), _PATIENCE)
    for part in objects(simulated(services - 1)):
        agent.apply(part)
    ports = tuple(ServicePort(port=n, target=n, name=f"port-{n}") for n in _NUMBERS)
    selector = {LABEL: _ASKED}
    new = NewService(name=_ASKED, network=NETWORK, ports=ports, families=(4,), selector=selector)
    return agent.create_service(new).service.addresses[0]


class Rules(Balancer):
    """Containers behind a veth of their host, which routes, and translates as its rules say."""

    def __init__(self, name: str) -> None:
        self.name = self.programmed = name
        self.systems = (name,)
        self._ruleset = RULESETS[name]

    def missing(self) -> str:
        program = self._ruleset.load[0]
        return "" if shutil.which(program) else f"{program} (nftables, iptables)"

    @contextmanager
    def balancing(self, host: LabHost, services: int) -> Iterator[Mapping[str, Pair]]:
        for name, (address, gateway) in _ENDS.items():
            _connect(host, name, address, gateway)
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        place = IPv4Address(_ENDS["server"][0])
        asked = [
            Backed(f"{_ASKED}-{port}", Place(_VIP, port), (Place(place, port),))
            for port in _NUMBERS
        ]
        text = self._ruleset.whole([*asked, *simulated(services - 1)])
        host.run(*self._ruleset.load, stdin=text, timeout=_PATIENCE)
        client = Party(netns_path(host, "client"), IPv4Address(_ENDS["client"][0]), host)
        yield {
            self.name: Pair(client, Party(netns_path(host, "server"), _VIP, host), host_netns(host))
        }

    def programming(self, host: LabHost, services: int, cpu: int) -> AbstractContextManager[Runner]:
        make_netns(host, _TABLES)
        command = (sys.executable, "-m", "seaway.bench.rule_trials", self.name, str(services))
        inside = ("nsenter", f"--net=/run/netns/{_TABLES}")
        return _running(host, [*inside, *pin(cpu, *command)])


def _connect(host: LabHost, name: str, address: str, gateway: str) -> None:
    make_netns(host, name)
    for command in (
        f"link add {name} type veth peer name eth0 netns {name}",
        f"addr add {gateway}/24 dev {name}",
        f"link set {name} up",
        f"-n {name} addr add {address}/24 dev eth0",
        f"-n {name} link set eth0 up",
        f"-n {name} route add default via {gateway}",
    ):
        host.run("ip", *command.split())


@contextmanager
def _running(host: LabHost, command: list[str]) -> Iterator[Runner]:
    pipe = subprocess.PIPE
    with host.popen(*command, stdin=pipe, stdout=pipe, stderr=pipe) as runner:
        try:
            ask(runner, "one_change")  # it answers once it has programmed all
            yield runner
        finally:
            runner.kill()


BALANCERS: Final[tuple[Balancer, ...]] = (SeawayServices(), *map(Rules, RULES))
