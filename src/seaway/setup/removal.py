"""Takes everything of Seaway away from a host, with the agent dead or alive.

The agent ends first, so that it repairs nothing. Then every kernel object goes that its target
knows for ours, then the files. What fails is told at the end and holds back nothing else; the
store goes last, because it alone knows what the host had before.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from seaway import names
from seaway.bpf import shapers, uplinks
from seaway.cluster.seats import OwnSeat
from seaway.daemons import AGENT, DNS, ETCD, ROUTED
from seaway.desired.network.host import FORWARDING, family_of
from seaway.desired.network.ports import added, published
from seaway.errors import Conflict, SeawayError, SystemFailed
from seaway.kernel.accepts import AcceptTarget
from seaway.kernel.addresses import AddressTarget
from seaway.kernel.forwarders import forwarders
from seaway.kernel.links import LinkTarget
from seaway.kernel.nft import NftTarget, program
from seaway.kernel.reserved import ReservedTarget
from seaway.kernel.routes import RouteTarget
from seaway.kernel.sysctls import SysctlTarget
from seaway.kernel.vxlan import VxlanTarget
from seaway.model.facts import Before, Host, Peer
from seaway.model.kernel import Reserved, Sysctl
from seaway.model.ports import written
from seaway.setup import files
from seaway.setup.beginning import must_be_root
from seaway.setup.reading import read_own_store, read_seen

Step = Callable[[], list[str]]  # what it could not do
SETTINGS, _STORE = "the configuration", "the store"
_ON = Sysctl("", "1")
_Listed = LinkTarget | VxlanTarget | RouteTarget | AddressTarget | NftTarget | AcceptTarget


def remove(*, force: bool, say: Callable[[str], None], keep: Collection[str] = ()) -> None:
    """All of it but the steps to `keep`; refused while containers are attached, unless forced."""
    must_be_root("remove Seaway")
    if not force:
        refuse_attached()
        _refuse_needed()
    problems: list[str] = []
    for what, step in _steps(say).items():
        if what in keep:
            continue
        if what == _STORE and problems and not force:
            break  # the next attempt needs what it says of the time before
        try:
            failed = step()
        except (SeawayError, OSError) as error:
            failed = [f"{what}: {error}"]
        problems += failed
        if not failed:
            say(f"removed: {what}")
    if problems:
        raise SystemFailed(f"not all could be removed: {'; '.join(problems)}", "mend it, repeat")


def refuse_attached() -> None:
    with ExitStack() as stack:
        links = LinkTarget()
        stack.callback(links.close)
        if found := links.read():
            raise Conflict(
                f"containers are attached to Seaway on this host: {len(found)}",
                "stop or detach them, or give --force and cut them off",
            )


def _refuse_needed() -> None:
    """Where other hosts have their records from this one's store, or by its vote."""
    others = [host.name for host in read_own_store().all(Host)][1:]
    if OwnSeat().file.exists() and read_seen().all(Peer):
        raise Conflict(
            "other hosts have their records from the etcd that runs here too",
            "take this one out first: seaway leave; or give --force",
        )
    if others:
        raise Conflict(
            f"the records of the whole cluster are on this host; it has {len(others)} others",
            "take those out first by 'seaway leave' on each; or give --force",
        )


def _steps(say: Callable[[str], None]) -> dict[str, Step]:
    return {
        "the agent": _end_agent,  # first: it starts the others
        "routed": _end_routed,
        "the resolver": _end_dns,
        "etcd": _end_etcd,
        "links": lambda: _sweep(LinkTarget),
        "shapers": _sweep_shapers,
        "the overlay's device": lambda: _sweep(VxlanTarget),
        "routes": lambda: _sweep(RouteTarget),
        "addresses": lambda: _sweep(AddressTarget),
        "the nftables table": _sweep_nft,
        "accepts in other firewalls": lambda: _sweep(AcceptTarget),
        "programs on the host's devices": _sweep_uplinks,
        "programs and maps": lambda: _remove_folder(names.PIN_FOLDER),
        "sysctls": lambda: _put_back_sysctls(say),
        "CNI files": _remove_cni,
        "the services": _remove_units,
        SETTINGS: lambda: _remove_folder(names.CONFIG_FILE.parent),
        "the log": lambda: _remove_folder(names.LOG_FILE.parent),
        "the socket": lambda: _remove_folder(names.RUN_FOLDER),
        _STORE: lambda: _remove_folder(names.STATE_FOLDER),
    }


def _end_agent() -> list[str]:
    AGENT.stop()
    return []


def _end_routed() -> list[str]:
    ROUTED.stop()
    return []


def _end_dns() -> list[str]:
    DNS.stop()
    return []


def _end_etcd() -> list[str]:
    OwnSeat().leave()
    return []


def _sweep(kind: Callable[[], _Listed]) -> list[str]:
    """Delete all that is ours of one kind."""
    target: Any = kind()
    try:
        failed = target.delete(set(target.read()))
    finally:
        target.close()
    return [f"{target.name} {key}: {error}" for key, error in failed.items()]


def _sweep_nft() -> list[str]:
    return _sweep(NftTarget) if program() else []  # without nft there never was a table


def _sweep_shapers() -> list[str]:
    shapers.take_away()
    return []


def _sweep_uplinks() -> list[str]:
    uplinks.take_away()
    return []


def _put_back_sysctls(say: Callable[[str], None]) -> list[str]:
    facts = read_seen()
    before = facts.all(Before)
    old = {name: Sysctl(name, value) for b in before for name, value in b.sysctls.items()}
    for family, setting in FORWARDING.items():
        if old.get(setting, _ON).value == "0" and (others := forwarders(family)):
            say(f"left on: {setting}, off before Seaway; others live by it: {', '.join(others)}")
            old = {name: sysctl for name, sysctl in old.items() if family_of(name) != family}
            for found in _unguarded():
                say(f"warning: ports that Docker's containers do not publish are open: {found}")
    target = SysctlTarget()
    there = target.current(old)  # a device may be gone, and its settings with it
    failed = target.put({name: old[name] for name in there})
    ours = {b.host: Reserved("", written(added(b, published(facts)))) for b in before}
    failed |= ReservedTarget().put(ours)
    return [f"sysctl {name}: {error}" for name, error in failed.items()]


def _unguarded() -> list[str]:
    """What closes them, as Docker would have, had it turned forwarding on."""
    target = AcceptTarget()
    try:
        return [f"{u.program} -P FORWARD DROP closes them" for u in target.observe().unguarded]
    finally:
        target.close()


def _remove_cni() -> list[str]:
    for path in (*files.our_conflists(), files.PLUGIN):
        path.unlink(missing_ok=True)
    for folder in (names.CNI_CONF, names.CNI_BIN):
        _remove_empty(folder)
        _remove_empty(folder.parent)
    return []


def _remove_units() -> list[str]:
    for daemon in (AGENT, ROUTED, DNS, ETCD):
        daemon.forget()
    return []


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        _remove_one(folder)


def _remove_folder(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    _remove_one(folder)
    return []


def _remove_one(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:  # somebody mounted it there: empty is all that it can be
            raise
