"""Whole labs: made, found again, and taken down without a trace.

A lab is its cgroup subtree; a small record in /run/seaway-lab/<name> says who is where on the
wire. `down` needs the subtree alone, so it also clears up after a crash half-way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from seaway.errors import Conflict, HostUnfit, Invalid, NotFound
from seaway.lab import cgroups, holders, links, wire, wiring
from seaway.lab.hosts import LabHost
from seaway.lab.links import Link

FOLDER = Path("/run/seaway-lab")
PROGRAMS = ("unshare", "nsenter", "setsid", "setpriv", "ip", "mount", "hostname", "nft")
WIRE = "wire"
WORLD = "world"
_IN_FOLDER = 'cd "$0" 2> /dev/null || cd /; exec "$@"'  # a host may have none of that name


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    hosts: tuple[LabHost, ...]
    world: LabHost | None = None

    @property
    def names(self) -> list[str]:
        """Of its hosts, in their order."""
        return [host.name for host in self.hosts]

    @property
    def everyone(self) -> tuple[LabHost, ...]:
        return (self.world, *self.hosts) if self.world else self.hosts

    def host(self, name: str) -> LabHost:
        everyone = {host.name: host for host in self.everyone}
        if name not in everyone:
            raise NotFound(
                f"lab '{self.name}' has no host '{name}'", f"expected {' or '.join(everyone)}"
            )
        return everyone[name]


class LabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of a lab now."""

    lab: Lab
    running: dict[str, bool]  # by host
    agents: dict[str, bool]
    links: tuple[Link, ...]


def up(
    name: str = "lab",
    *,
    hosts: int = 1,
    world: bool = False,
    agents: bool = False,
    topology: str = "mesh",
) -> Lab:
    """Make a lab: all of it, or nothing. `topology`: one of `links.TOPOLOGIES`, or a file."""
    known = check(name, hosts, topology)
    lab = _plan(name, hosts, world)
    with ExitStack() as undo:
        undo.callback(down, name)
        (FOLDER / name).mkdir(parents=True)
        (FOLDER / name / "lab.json").write_bytes(msgspec.json.encode(lab, enc_hook=str))
        _start(lab)
        wiring.apply(FOLDER / name, _wire(name), lab.names, known)
        for host in lab.hosts if agents else ():
            host.start_agent()
        undo.pop_all()
    return lab


def check(name: str, hosts: int, topology: str) -> links.Links:
    """What it would be wired like; raises what `up` would refuse."""
    _validate(name, hosts)
    return links.laid_out(topology, _plan(name, hosts, world=False).names)


def down(name: str = "lab") -> bool:
    """Take a lab down; whether there was one."""
    cgroup, folder = cgroups.of_lab(name), FOLDER / name
    found = cgroup.exists() or folder.exists()
    cgroups.remove(cgroup)
    shutil.rmtree(folder, ignore_errors=True)
    if FOLDER.exists() and not any(FOLDER.iterdir()):
        FOLDER.rmdir()
    return found


@contextmanager
def passing(
    purpose: str,
    *,
    hosts: int = 1,
    world: bool = False,
    agents: bool = False,
    topology: str = "mesh",
) -> Iterator[Lab]:
    """A lab of this process's own, gone with it; those of processes that were killed go first."""
    for name in names():
        maker = name.removeprefix(f"{purpose}-")
        if maker != name and maker.isdecimal() and not Path("/proc", maker).exists():
            down(name)
    name = f"{purpose}-{os.getpid()}"
    try:
        yield up(name, hosts=hosts, world=world, agents=agents, topology=topology)
    finally:
        down(name)


def names() -> list[str]:
    recorded = {path.name for path in FOLDER.iterdir()} if FOLDER.exists() else set()
    return sorted(recorded | set(cgroups.lab_names()))


def load(name: str = "lab") -> Lab:
    try:
        record = (FOLDER / name / "lab.json").read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no lab '{name}'", "seaway lab up") from None
    return msgspec.json.decode(record, type=Lab, dec_hook=_decoded)


def status(name: str = "lab") -> LabStatus:
    lab = load(name)
    running = {host.name: _runs(host) for host in lab.everyone}
    agents = {host.name: running[host.name] and host.agent_is_ready() for host in lab.hosts}
    known = wiring.load(FOLDER / name).values()
    return LabStatus(lab=lab, running=running, agents=agents, links=tuple(known))


def link(ends: tuple[str, str], quality: str, value: str = "", name: str = "lab") -> Link:
    """Change a link of a lab that is up: `up`, `down`, or its `loss`, `delay` or `rate`."""
    lab, folder = load(name), FOLDER / name
    pair = links.pair(*ends, lab.names)
    known = wiring.load(folder)
    made = links.changed(known.get(pair, Link(hosts=pair)), quality, value)
    wiring.apply(folder, _wire(name), lab.names, known | {pair: made})
    return made


def part(*hosts: LabHost) -> None:
    """None of these sees another one of them any more, but all others still see them; without a
    rule that each frame on the wire would pay for.
    """
    for host in hosts:
        wire = _wire(host.cgroup.parent.name.removeprefix(cgroups.PREFIX))
        wire.run("bridge", "link", "set", "dev", host.name, "isolated", "on")


def reboot(host: LabHost) -> None:
    """As when its power fails and comes back: all that ran in it and all that its kernel held is
    gone. What lies on its disk stays (`holder.sh` says where), and its place on the wire; nothing
    of it is started.
    """
    lab = load(host.cgroup.parent.name.removeprefix(cgroups.PREFIX))
    before = Path(f"/proc/{host.pid}")
    mac = (before / "root/sys/class/net/eth0/address").read_text().strip()
    disk = os.open(before / "cwd", os.O_PATH | os.O_DIRECTORY)
    try:
        _wire(lab.name).run("ip", "link", "del", host.name)
        cgroups.remove(host.cgroup)
        pid = _hold(lab.name, host.name)
        old, new = f"/proc/{os.getpid()}/fd/{disk}", f"/proc/{pid}/cwd"
        copy = ["cp", "--archive", f"{old}/private/.", f"{new}/private/"]
        subprocess.run(copy, check=True, timeout=60)
    finally:
        os.close(disk)
    _connect(lab, host, pid, mac)
    wiring.renew(FOLDER / lab.name, _wire(lab.name))


def run(name: str, host: str, argv: list[str]) -> int:
    """Run a command in a lab host on our own terminal, in our own folder; its exit status."""
    here = ("sh", "-c", _IN_FOLDER, str(Path.cwd()), *argv)
    return subprocess.run(load(name).host(host).argv(*here), check=False).returncode


def _decoded(kind: type[Path], text: str) -> Path:
    return kind(text)


def _runs(host: LabHost) -> bool:
    try:
        return bool(host.pid)
    except NotFound:
        return False


def _validate(name: str, hosts: int) -> None:
    if not name.isidentifier() and not name.replace("-", "_").isidentifier():
        raise Invalid(f"'{name}' is no name for a lab", "expected letters, digits and dashes")
    if not 1 <= hosts <= wire.MOST_HOSTS:
        raise Invalid(f"a lab cannot have {hosts} hosts", f"expected 1 to {wire.MOST_HOSTS}")
    if name in names():
        raise Conflict(f"there is a lab '{name}' already", f"seaway lab down --name {name}")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise HostUnfit(
            f"the lab needs {', '.join(missing)}", "install util-linux, iproute2 and nftables"
        )


def _plan(name: str, hosts: int, world: bool) -> Lab:
    def host(title: str, number: int) -> LabHost:
        where = wire.place(number)
        return LabHost(
            name=title,
            cgroup=cgroups.of_lab(name) / title,
            address4=where.address4.ip,
            address6=where.address6.ip,
        )

    return Lab(
        name=name,
        hosts=tuple(host(f"host{n}", wire.FIRST_HOST + n - 1) for n in range(1, hosts + 1)),
        world=host(WORLD, wire.WORLD) if world else None,
    )


def _wire(lab: str) -> LabHost:
    """The wire itself, to run commands in; nobody's address."""
    where = wire.place(0)
    return LabHost(
        name=WIRE,
        cgroup=cgroups.of_lab(lab) / WIRE,
        address4=where.address4.ip,
        address6=where.address6.ip,
    )


def _start(lab: Lab) -> None:
    wire.build(_hold(lab.name, WIRE))
    for host in lab.everyone:
        _connect(lab, host, _hold(lab.name, host.name))


def _connect(lab: Lab, host: LabHost, pid: int, mac: str = "") -> None:
    """With the wire, at its place."""
    where = wire.place(int(host.address4) & 0xFF)
    wire.connect(_wire(lab.name).pid, pid, host.name, where, mac)
    if host == lab.world:
        wire.be_the_world(pid)
    elif lab.world:
        wire.use_the_world(pid)


def _hold(lab: str, host: str) -> int:
    cgroup, store = cgroups.of_lab(lab) / host, FOLDER / lab / host
    store.mkdir(exist_ok=True)
    holders.start(host, cgroup, store)
    return holders.find(cgroup)
