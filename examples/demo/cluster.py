"""The stage of the parts after the first: three hosts in a line, and the store that joins them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from ipaddress import ip_address
from pathlib import Path

from story import Failed, Load, Report, Site, check, listed, tell

from seaway import lab as labs
from seaway.errors import Unavailable
from seaway.lab import Lab, LabHost
from seaway.lab.containerd import Containerd
from seaway.lab.etcd import Etcd
from seaway.lab.images import Image
from seaway.trust import certificates
from seaway.trust.authority import Authority
from seaway.trust.certificates import Identity

CLIENT = "client"  # what hosts call themselves to etcd
WORK = "0.1"  # seconds that a backend takes for an answer: some are always on their way
NOBODY = ip_address("192.0.2.1")  # its address: one of documentation
FILES = {"ca": "ca.pem", "cert": f"{CLIENT}.pem", "key": f"{CLIENT}-key.pem"}


@dataclass
class Cluster:
    """Hosts a, b, c, of which a sees c only through b. The store is an etcd on b."""

    lab: Lab
    image: Image
    folder: Path  # of the store's keys and certificates
    kept: ExitStack
    reports: list[Report] = field(default_factory=list)
    load: Load | None = None
    asking: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def sites(self) -> tuple[Site, Site, Site]:
        a, b, c = (
            Site(host=host, engine=Containerd(host), image=self.image, prompt=f"{host.name} $")
            for host in self.lab.hosts
        )
        return a, b, c

    @property
    def outside(self) -> LabHost:
        """Where none of them, and no container, is."""
        assert self.lab.world
        return self.lab.world

    @cached_property
    def etcd(self) -> Etcd:
        return Etcd((self.sites[1].host,), self.folder)

    def link(self, one: Site, other: Site, quality: str, value: str = "") -> str:
        """Change what passes between two hosts; returns what one would have typed."""
        ends = one.host.name, other.host.name
        labs.link(ends, quality, value, self.lab.name)
        return f"$ seaway lab link {' '.join((*ends, quality, value))}".rstrip()

    def goes(self, ways: dict[str, tuple[str, ...]]) -> bool:
        """Whether these are the hosts that a's packets visit, by host that they are for."""
        try:
            routes = self.sites[0].agent.routes("", "latency")
        except Unavailable:
            return False
        return {route.host: route.path for route in routes} == ways

    def start_backend(self, site: Site, name: str) -> None:
        site.start(name, "shop", "python3", "/app/backend.py", name, WORK)

    def start_asking(self, gateway: str) -> None:
        """All the time, from here on. The container is found on the first host."""
        site = self.sites[0]
        site.host.wait_for(f"{gateway}'s start", partial(self.is_served, site, gateway))
        self.asking.close()
        self.asking = self.kept.enter_context(ExitStack())
        self.load = self.asking.enter_context(site.load(site.addresses[gateway][0]))

    def is_served(self, site: Site, gateway: str, who: str = "client") -> bool:
        return not site.ask(self.sites[0].addresses[gateway][0], 0.01, who=who).failed

    def seen(self) -> Report:
        """What the client saw since the last time."""
        if self.load is None:
            raise Failed("nobody asks")
        self.reports.append(self.load.report())
        return self.reports[-1]

    def tell_seen(self) -> Report:
        """By the client, and by the gateway that asks twice."""
        report = self.seen()
        tell(f"  the client saw: {report}")
        again = sum(report.retried.values())
        why = f"{again} requests, 0.3 s after: {listed(report.retried)}" if again else "no request"
        tell(f"  the gateway tried twice: {why}")
        times = f"{report.silence:.2f} s without any answer at most, the slowest came"
        tell(f"  {times} after {report.slowest:.2f} s")
        check("the client saw nothing fail", report.answered and not report.failed)
        return report

    def make(self) -> None:
        """Beside whatever else goes on."""
        with ThreadPoolExecutor(1) as beside:
            engines = beside.submit(self._start_engines)
            self._certify()
            self.etcd.start()
            self._join()
            engines.result()

    def _start_engines(self) -> None:
        for site in self.sites:
            site.engine.start()
            site.engine.load(site.image)

    def _certify(self) -> None:
        """The store has a CA of its own."""
        authority, (server,) = Authority.create("etcd", time.time()), self.etcd.hosts
        (self.folder / FILES["ca"]).write_bytes(authority.certificate)
        for name, address in ((server.name, server.address4), (CLIENT, NOBODY)):
            key = certificates.new_key()
            identity, request = Identity("etcd", name, (address,)), certificates.request(key, name)
            signed = authority.sign(request, identity, time.time())
            (self.folder / f"{name}.pem").write_text(signed)
            (self.folder / f"{name}-key.pem").write_bytes(key)

    def _join(self) -> None:
        """Each by the one before it: c does not see a."""
        a, b, c = (site.host for site in self.sites)
        shown = [f"--etcd-{what}={self.folder / file}" for what, file in FILES.items()]
        told = a.seaway("init", "--etcd", *self.etcd.urls, *shown, timeout=90)
        (join,) = (line for line in told.splitlines() if line.startswith("seaway join"))
        token = join.split()[2]
        for host, before in ((b, a), (c, b)):
            host.seaway("join", token, str(before.address4), timeout=60)
