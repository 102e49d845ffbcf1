"""An etcd inside lab hosts, one member each, for tests and the demo: also one that fails.

Its state is all inside, and gone with the hosts. It speaks to clients on TCP 2379, to the other
members on 2380, and here also on a socket of its host, by which the machine reaches it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from seaway.lab.hosts import LabHost

HOME = Path("/run/etcd")
DATA = Path("/var/lib/seaway-lab-etcd")
LOG = Path("/var/log/etcd.log")
SOCKET = "client:1"  # how etcd names one: always with a number
CLIENT, PEER = 2379, 2380
BEGIN = f'mkdir -p {HOME}; cd {HOME}; rm -f {SOCKET}; echo $$ > pid; exec etcd "$@"'


class Etcd(msgspec.Struct, frozen=True):
    """`certificates`: a folder with ca.pem, <host>.pem and <host>-key.pem. None: without TLS."""

    hosts: tuple[LabHost, ...]
    certificates: Path | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.certificates else "http"

    @property
    def urls(self) -> list[str]:
        """Where clients find it."""
        return [self._url(host, CLIENT) for host in self.hosts]

    def socket(self, host: LabHost) -> str:
        """Of the member on that host, as a process of the machine finds it."""
        return f"unix:/proc/{host.pid}/root{HOME}/{SOCKET}"

    def start(self, *hosts: LabHost) -> None:
        """All members, or those of these hosts; return when each of them serves."""
        for host in hosts or self.hosts:
            host.start("sh", "-c", BEGIN, "sh", *self._options(host), log=LOG)
        for host in hosts or self.hosts:
            host.wait_for("etcd", partial(self.is_healthy, host))

    def is_healthy(self, host: LabHost) -> bool:
        return host.call(*self._ctl(host), "endpoint", "health").returncode == 0

    def stop(self, host: LabHost) -> None:
        self._end(host, "TERM")

    def kill(self, host: LabHost) -> None:
        """No warning, no farewell."""
        self._end(host, "KILL")

    def clear(self) -> None:
        """End all of it, and forget what it knew."""
        for host in self.hosts:
            self.kill(host)
            host.run("rm", "-rf", str(DATA))

    def pause(self, host: LabHost) -> None:
        """It takes connections, and answers nothing."""
        self._signal(host, "STOP")

    def resume(self, host: LabHost) -> None:
        self._signal(host, "CONT")

    def compact(self, host: LabHost) -> None:
        """Forget all history but the last revision."""
        status = msgspec.json.decode(self.ctl(host, "endpoint", "status", "-w", "json"))
        self.ctl(host, "compact", str(status[0]["Status"]["header"]["revision"]), "--physical")

    def save(self, file: Path) -> None:
        """A snapshot, into a file of the machine that lab hosts see as well (/tmp)."""
        self.ctl(self.hosts[0], "snapshot", "save", str(file))

    def restore(self, file: Path) -> None:
        """What every member knows by now is lost. All are stopped before, and started after."""
        for host in self.hosts:
            host.run("rm", "-rf", str(DATA))
            what = ["snapshot", "restore", str(file), "--data-dir", str(DATA)]
            host.run("etcdctl", *what, *self._names(host))

    def ctl(self, host: LabHost, *command: str) -> str:
        return host.run(*self._ctl(host), *command)

    def _ctl(self, host: LabHost) -> list[str]:
        return ["etcdctl", "--endpoints", self._url(host, CLIENT), *self._identity(host)]

    def _url(self, host: LabHost, port: int) -> str:
        return f"{self.scheme}://{host.address4}:{port}"

    def _names(self, host: LabHost) -> list[str]:
        members = ",".join(f"{h.name}={self._url(h, PEER)}" for h in self.hosts)
        peer = ["--initial-advertise-peer-urls", self._url(host, PEER)]
        return ["--name", host.name, "--initial-cluster", members, *peer]

    def _options(self, host: LabHost) -> list[str]:
        client, peer = self._url(host, CLIENT), self._url(host, PEER)
        listen = ["--listen-client-urls", f"{client},unix://{SOCKET}", "--listen-peer-urls", peer]
        told = ["--data-dir", str(DATA), "--advertise-client-urls", client, "--logger", "zap"]
        return [*self._names(host), *listen, *told, *self._server_identity(host)]

    def _server_identity(self, host: LabHost) -> list[str]:
        if self.certificates is None:
            return []
        ca, certificate, key = self._files(host)
        own = ["--trusted-ca-file", ca, "--cert-file", certificate, "--key-file", key]
        peer = ["--peer-trusted-ca-file", ca, "--peer-cert-file", certificate]
        proof = ["--client-cert-auth", "--peer-client-cert-auth"]
        return [*own, *peer, "--peer-key-file", key, *proof]

    def _identity(self, host: LabHost) -> list[str]:
        if self.certificates is None:
            return []
        ca, certificate, key = self._files(host)
        return ["--cacert", ca, "--cert", certificate, "--key", key]

    def _files(self, host: LabHost) -> list[str]:
        files = ("ca.pem", f"{host.name}.pem", f"{host.name}-key.pem")
        return [f"{self.certificates}/{file}" for file in files]

    def _end(self, host: LabHost, signal: str) -> None:
        """What has ended already is no error."""
        pid = host.read(HOME / "pid").strip()
        host.call("kill", f"-{signal}", pid)
        host.wait_for("the end of etcd", lambda: host.call("kill", "-0", pid).returncode != 0)

    def _signal(self, host: LabHost, signal: str) -> None:
        host.run("kill", f"-{signal}", host.read(HOME / "pid").strip())
