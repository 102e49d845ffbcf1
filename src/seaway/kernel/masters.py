"""What else is master on this host, and which of its settings fight us. Only read.

Each finding says what is there, and what to do about it or what the agent does.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from seaway.kernel import iptables, nft
from seaway.kernel.accepts import AcceptTarget
from seaway.model.facts import Barrier, Unguarded
from seaway.model.kernel import DOCKER_CHAIN, FIREWALLD
from seaway.model.reports import Finding
from seaway.names import LINK_PREFIX, NFT_TABLE

_BASES = {"forward": "FORWARD", "input": "INPUT"}  # hooks, and how iptables calls its chains there
_FAMILIES = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}
_ROOTS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
_SAMPLE = f"{LINK_PREFIX}0123456789a"  # a device of ours
_CLOSES: Final = re.compile(
    r"^\s*(net[./]ipv4[./](ip_forward|conf[./]all[./]forwarding)"
    r"|net[./]ipv6[./]conf[./]all[./]forwarding)\s*=\s*0\s*$",
    re.MULTILINE,
)


def findings(root: Path = Path("/")) -> list[Finding]:
    return [
        *_barriers(),
        *_foreign_chains(),
        *_docker(root),
        *_ufw(root),
        *_networkd(root),
        *_network_manager(root),
        *_settings(root),
    ]


def _finding(check: str, level: str, found: str, advice: str = "") -> Finding:
    return Finding(check=check, level=level, found=found, advice=advice)


# Firewalls


def _barriers() -> Iterator[Finding]:
    """Where the agent keeps accepts, or should."""
    target = AcceptTarget()
    try:
        firewalls, held = target.observe(), target.read().keys()
    except PermissionError:
        yield _finding("firewall", "off", "not looked at", "root can: sudo seaway doctor")
        return
    except OSError as error:
        yield _finding("firewall", "warning", f"other firewalls cannot be looked at: {error}")
        return
    finally:
        target.close()
    barriers = firewalls.barriers
    for barrier in sorted(barriers, key=lambda b: (b.program, b.chain)):
        where = DOCKER_CHAIN if barrier.docker_user else barrier.chain
        yield _barrier(barrier, where, accepted=(barrier.program, where) in held)
    for unguarded in sorted(firewalls.unguarded, key=lambda u: u.program):
        yield _bridges(unguarded, closed=(unguarded.program, "FORWARD") in held)
    if not barriers:
        yield _finding("firewall", "ok", "no firewall of iptables or firewalld refuses our packets")
    for program in iptables.LEGACY:
        if iptables.loaded(program) and not iptables.installed(program):
            found = (
                f"its legacy tables are loaded, and there is no program '{program}' to read them"
            )
            yield _finding("firewall", "warning", found, "apt-get install iptables")


def _bridges(unguarded: Unguarded, *, closed: bool) -> Finding:
    bridges = ", ".join(unguarded.bridges)
    if closed:
        found = f"{unguarded.program}: FORWARD refuses nothing; {bridges} closed by rules of ours"
        return _finding("docker", "ok", found, "as Docker does where it turns forwarding on")
    found = f"{unguarded.program}: FORWARD refuses nothing: Docker before 28 leaves {bridges} open"
    advice = f"if its containers shall be reached by published ports alone: {unguarded.program}"
    return _finding("docker", "warning", found, f"{advice} -P FORWARD DROP")


def _barrier(barrier: Barrier, where: str, *, accepted: bool) -> Finding:
    found = f"{barrier.program}: {barrier.chain} refuses what it does not know"
    if barrier.program == FIREWALLD:
        found = f"firewalld runs, and refuses what comes by devices that are not {barrier.chain}"
        if not iptables.which("firewall-cmd"):
            return _finding(
                FIREWALLD,
                "warning",
                f"{found}; there is no program 'firewall-cmd'",
                "apt-get install firewalld",
            )
        advice = (
            f"the agent puts {LINK_PREFIX}+ there, after each reload again; for good: "
            f"firewall-cmd --permanent --zone={barrier.chain} --add-interface={LINK_PREFIX}+"
        )
        return _finding(FIREWALLD, "ok" if accepted else "warning", found, advice)
    if accepted:
        return _finding("firewall", "ok", f"{found}; our accepts are in {where}")
    advice = f"the agent puts accepts into {where} within ten seconds: does it run?"
    return _finding("firewall", "warning", found, advice)


def _foreign_chains() -> Iterator[Finding]:
    """Chains of nftables whose policy is drop, and in which the agent puts nothing."""
    for chain in _nft_chains():
        table, name = f"{chain['family']} {chain['table']}", chain["name"]
        program = _FAMILIES.get(chain["family"], "")
        is_iptables = bool(program) and (chain["table"], name) == ("filter", _BASES[chain["hook"]])
        if is_iptables and iptables.installed(program):
            continue
        found = f"nftables chain {table} {name} drops what it does not know"
        if is_iptables:
            found += f", and there is no program '{program}' by which the agent puts accepts there"
            yield _finding("firewall", "warning", found, "apt-get install iptables")
            continue
        ways = ("iifname", "oifname") if chain["hook"] == "forward" else ("iifname",)
        rules = "; ".join(
            f"nft insert rule {table} {name} {way} '{LINK_PREFIX}*' accept" for way in ways
        )
        if all(f'{way} "{LINK_PREFIX}*"' in _accepting(chain) for way in ways):
            yield _finding("firewall", "ok", f"{found}, and lets ours through")
            continue
        advice = f"Seaway changes no table of others; in yours, if our packets shall pass: {rules}"
        yield _finding("firewall", "warning", found, advice)


def _accepting(chain: dict[str, str]) -> str:
    """Those of its rules that accept without another condition."""
    listed = nft.listed_chain(chain["family"], chain["table"], chain["name"]).splitlines()
    return "\n".join(line for line in listed if re.fullmatch(r"\s*[io]ifname \S+ accept", line))


def _nft_chains() -> list[dict[str, str]]:
    listed = nft.listed_json("chains")
    chains = [item["chain"] for item in listed if "chain" in item]
    return [
        c
        for c in chains
        if c.get("hook") in _BASES and c.get("policy") == "drop" and c["table"] != NFT_TABLE
    ]


def _docker(root: Path) -> Iterator[Finding]:
    if not (root / "run/docker.sock").exists():
        return
    try:
        given = json.loads((root / "etc/docker/daemon.json").read_text())
    except (OSError, ValueError):
        given = {}
    if isinstance(given, dict) and given.get("firewall-backend") == "nftables":
        found = "Docker runs with nftables, and leaves no chain to others"
        yield _finding("docker", "ok", found, "its tables concern its own networks alone")
    else:
        found = "Docker runs: it sets FORWARD to DROP where it turns forwarding on"
        yield _finding("docker", "ok", found, f"the agent keeps accepts in {DOCKER_CHAIN}")


def _ufw(root: Path) -> Iterator[Finding]:
    if not re.search(r"^ENABLED=yes", _text(root / "etc/ufw/ufw.conf"), re.MULTILINE):
        return
    found = "ufw is enabled"
    advice = (
        "its rules for ports of this host do not concern containers of ours: "
        "use --no-host-access of their network"
    )
    yield _finding("ufw", "ok", found, advice)
    if re.search(r"^MANAGE_BUILTINS=yes", _text(root / "etc/default/ufw"), re.MULTILINE):
        found = (
            "MANAGE_BUILTINS=yes in /etc/default/ufw: ufw empties FORWARD and INPUT at each reload"
        )
        yield _finding("ufw", "warning", found, "set it to no; the agent puts its accepts back")
    yield from _resets("ufw", root / "etc/ufw/sysctl.conf", root)


# Managers of devices


def _networkd(root: Path) -> Iterator[Finding]:
    if not (root / "run/systemd/netif").exists():
        return
    taking = [path for path in _parts(root, "systemd/network", "network") if _takes_ours(path)]
    for path in taking:
        found = f"systemd-networkd takes our devices by {_shown(path, root)}"
        advice = f"narrow its [Match], e.g. Name=!{LINK_PREFIX}*: it would take our addresses away"
        yield _finding("networkd", "warning", found, advice)
    config = "\n".join(
        _text(path)
        for path in (
            root / "etc/systemd/networkd.conf",
            *_parts(root, "systemd/networkd.conf.d", "conf"),
        )
    )
    if not re.search(r"^\s*ManageForeignRoutes\s*=\s*(no|false|0|off)\s*$", config, re.MULTILINE):
        found = "systemd-networkd may remove routes of others when it starts again"
        advice = "[Network] ManageForeignRoutes=no in networkd.conf; the agent puts ours back"
        yield _finding("networkd", "ok", found, advice)
    elif not taking:
        yield _finding("networkd", "ok", "systemd-networkd runs, and leaves our devices alone")


def _takes_ours(path: Path) -> bool:
    """Whether a .network file matches our devices: by name, or by kind or type without a name."""
    parser = configparser.RawConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read_string(_text(path))
    except configparser.Error:
        return False
    match = dict(parser["Match"]) if parser.has_section("Match") else {}
    names = (match.pop("name", None) or "*").split()
    unwanted = [name[1:] for name in names if name.startswith("!")]
    wanted = [name for name in names if not name.startswith("!")] or ["*"]
    if any(fnmatch(_SAMPLE, name) for name in unwanted):
        return False
    kinds = {"kind": "veth", "type": "ether", "driver": "veth"}
    others = match.keys() - kinds.keys()
    fits = all(fnmatch(kinds[k], v or "*") for k, v in match.items() if k in kinds)
    return fits and not others and any(fnmatch(_SAMPLE, name) for name in wanted)


def _network_manager(root: Path) -> Iterator[Finding]:
    if not (root / "run/NetworkManager").exists():
        return
    files = [
        root / "etc/NetworkManager/NetworkManager.conf",
        *_parts(root, "NetworkManager/conf.d", "conf"),
    ]
    if any(f"interface-name:{LINK_PREFIX}" in _text(path) for path in files):
        found = "NetworkManager runs, and is told to leave our devices alone"
        yield _finding("networkmanager", "ok", found)
    else:
        advice = (
            f"tell it to leave us alone: [keyfile] unmanaged-devices=interface-name:{LINK_PREFIX}* "
            "in a file of /etc/NetworkManager/conf.d; what it takes away, the agent puts back"
        )
        yield _finding("networkmanager", "warning", "NetworkManager runs", advice)


# Settings of the kernel


def _settings(root: Path) -> Iterator[Finding]:
    conf = root / "proc/sys/net/ipv4/conf"
    strict = [n for n in ("all", "default") if _text(conf / n / "rp_filter").strip() == "1"]
    if strict:
        told = ", ".join(f"net.ipv4.conf.{name}.rp_filter" for name in strict)
        advice = "where containers have several interfaces: set it to 2, which checks loosely"
        found = f"{told} is 1: what a container sends by another of its interfaces is dropped"
        yield _finding("rp_filter", "warning" if "all" in strict else "ok", found, advice)
    else:
        yield _finding("rp_filter", "ok", "no strict check of the way back")
    bridge = root / "proc/sys/net/bridge"
    on = [path.name for path in sorted(bridge.glob("*-nf-call-*tables")) if _text(path) == "1\n"]
    if on:
        found = f"{', '.join(on)}: what bridges carry passes FORWARD"
        yield _finding("bridge_nf", "ok", found, "our endpoints are on no bridge")
    for path in (root / "etc/sysctl.conf", *_parts(root, "sysctl.d", "conf")):
        yield from _resets("forwarding", path, root)


def _resets(check: str, path: Path, root: Path) -> Iterator[Finding]:
    for setting in _CLOSES.finditer(_text(path)):
        found = f"{_shown(path, root)} sets {setting[1]} to 0 whenever it is applied"
        yield _finding(check, "warning", found, "set it to 1; the agent sets it within ten seconds")


# Files


def _text(path: Path) -> str:
    """Empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _parts(root: Path, folder: str, suffix: str) -> list[Path]:
    """A service's files in the folders of which the first that has a name gives it."""
    found: dict[str, Path] = {}
    for top in _ROOTS:
        for path in (root / top / folder).glob(f"*.{suffix}"):
            found.setdefault(path.name, path)
    return [found[name] for name in sorted(found)]


def _shown(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"
