"""What answers names in `dns`: each on a host of its own, to a container of Seaway's, and the same
zone, so that nothing differs but who answers.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from seaway import names
from seaway.bench.ours import NETWORK, attach
from seaway.bench.systems import Party, make_netns, netns_path
from seaway.bench.traffic import pin
from seaway.errors import SystemFailed
from seaway.lab import LabHost
from seaway.model.addresses import Address

CLIENT: Final = "dnsperf"
WITHIN: Final = 20.0  # seconds until the first answer
_NAMES: Final = 100
_CONFIG: Final = Path("/run/resolver.conf")
_OWN: Final = ("ip", "-4", "-br", "addr", "show", "lo")  # where the peers listen: beside ours


def questions() -> list[str]:
    return [f"n{i}.{NETWORK}.{names.DOMAIN}" for i in range(_NAMES)]


@dataclass(frozen=True)
class Asking:
    """A client, and where it asks."""

    client: Party
    server: Address

    def run(self, cpu: int, *options: str) -> str:
        """What the client prints."""
        with NamedTemporaryFile("w") as listed:  # it reads them over and over
            listed.writelines(f"{name} A\n" for name in questions())
            listed.flush()
            given = ("-s", str(self.server), "-d", listed.name, *options)
            argv = self.client.argv(*pin(cpu, CLIENT, *given))
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise SystemFailed(f"{CLIENT} failed: {done.stderr.strip()[-300:]}")
        return done.stdout


@contextmanager
def _container(host: LabHost) -> Iterator[tuple[Party, Address]]:
    """Who asks, and the address of all names."""
    host.start_agent()
    make_netns(host, "client", "server")
    client = Party(netns_path(host, "client"), attach(host, "client", 4))
    aliases = [f"--alias=n{i}" for i in range(_NAMES)]
    yield client, attach(host, "server", 4, *aliases)


def _lack(program: str) -> str:
    missing = [one for one in (CLIENT, program) if shutil.which(one) is None]
    return f"{' and '.join(missing)} is not installed" if missing else ""


class OurResolver:
    name = "seaway"

    def missing(self) -> str:
        return _lack("dig")

    @contextmanager
    def answering(self, host: LabHost, cpu: int) -> Iterator[Asking]:
        with _container(host) as (client, _):
            _wait(host, names.RESOLVER4)
            pid = host.read(names.RESOLVER_PID_FILE).strip()
            host.run("taskset", "--all-tasks", "--cpu-list", "--pid", str(cpu), pid)
            yield Asking(client, names.RESOLVER4)


class Peer:
    """A program that reads its zone from a file."""

    name: str
    command: tuple[str, ...]

    def zone(self, server: Address, held: Address) -> str:
        raise NotImplementedError

    def missing(self) -> str:
        return _lack(self.name)

    @contextmanager
    def answering(self, host: LabHost, cpu: int) -> Iterator[Asking]:
        with _container(host) as (client, held):
            server = _own_address(host)
            host.write(_CONFIG, self.zone(server, held))
            with host.popen(*pin(cpu, *self.command), stderr=subprocess.DEVNULL) as process:
                try:
                    _wait(host, server)
                    yield Asking(client, server)
                finally:
                    process.kill()


class Dnsmasq(Peer):
    name = "dnsmasq"
    command = ("dnsmasq", "--keep-in-foreground", f"--conf-file={_CONFIG}")

    def zone(self, server: Address, held: Address) -> str:
        settings = ("no-resolv", "no-hosts", "bind-interfaces", "user=root", "local-ttl=5")
        records = [f"host-record={name},{held}" for name in questions()]
        return "\n".join((*settings, f"listen-address={server}", *records, ""))


class Unbound(Peer):
    name = "unbound"
    command = ("unbound", "-d", "-c", str(_CONFIG))

    def zone(self, server: Address, held: Address) -> str:
        settings = (
            *("do-daemonize: no", 'username: ""', 'chroot: ""', "use-syslog: no"),
            *("num-threads: 1", 'module-config: "iterator"', 'pidfile: "/run/unbound.pid"'),
            *(f"interface: {server}", "access-control: 0.0.0.0/0 allow"),
            f'local-zone: "{NETWORK}.{names.DOMAIN}." static',
        )
        records = [f'local-data: "{name}. 5 IN A {held}"' for name in questions()]
        inside = "\n".join(f"  {line}" for line in (*settings, *records))
        return f"server:\n{inside}\nremote-control:\n  control-enable: no\n"


RESOLVERS: Final = (OurResolver(), Dnsmasq(), Unbound())


def _own_address(host: LabHost) -> Address:
    """The host's own in the cluster: a container reaches it as it reaches the resolver."""
    found = (ip_interface(word).ip for word in host.run(*_OWN).split() if "/" in word)
    return next(a for a in found if not (a.is_loopback or a.is_link_local))


def _wait(host: LabHost, server: Address) -> None:
    deadline = time.monotonic() + WITHIN
    question = ("dig", "+short", "+timeout=1", "+tries=1", f"@{server}", questions()[-1])
    while "10." not in host.call(*question).stdout:
        if time.monotonic() > deadline:
            raise SystemFailed(f"nobody answers names at {server}")
        time.sleep(0.05)
