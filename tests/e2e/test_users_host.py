"""A host with other masters: what they refuse, what they rebuild, and what is theirs alone.

┌──────────────── host1 ─────────────────┐
│ ┌── a ──┐  iptables (nft, legacy), ufw,│      ┌── world ──┐
│ │ eth0  │  firewalld, Docker, udev eth0┼─wire─┼─ eth0     │
│ └───────┘                              │      └───────────┘
└────────────────────────────────────────┘
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Bare, OneHost
from tests.masters import (
    INTERNET,
    MARK,
    accepts,
    chain,
    exchanging,
    start_docker,
    start_firewalld,
    start_udevd,
    stop_docker,
)

from seaway import names
from seaway.bench import docker
from seaway.lab import LabHost
from seaway.lab.hosts import SEAWAY

FLAVOURS = {
    "nft": ("iptables-nft", "ip6tables-nft"),
    "legacy": ("iptables-legacy", "ip6tables-legacy"),
}
NFT4, NFT6 = FLAVOURS["nft"]


@dataclass
class Scene:
    one: OneHost
    world: LabHost

    @property
    def host(self) -> LabHost:
        return self.one.host

    def begin(self) -> Bare:
        """The agent and a container, on the host as it is now."""
        self.host.start_agent()
        return self.one.attach("a")

    def wait(self, what: str, program: str, *where: str, there: bool = True) -> None:
        """Until accepts of ours are in all these chains, or in none."""
        wanted = dict.fromkeys(where, there)
        self.host.wait_for(
            what, lambda: wanted == {c: accepts(self.host, program, c) for c in where}
        )

    def reaches_all(self, a: Bare) -> None:
        """The world, and the host whose address in the cluster or another is asked for."""
        addresses = self.one.told("status")["addresses"]
        own = (*addresses, str(self.host.address4), str(self.host.address6))
        for address in (*INTERNET, *own):
            self.host.wait_for(address, partial(a.reaches, address))
        for address in a.addresses():
            self.host.wait_for(f"{address} by the host", partial(self.host.reaches, address))

    def drift(self) -> set[str]:
        return {d["key"] for d in self.one.told("status")["drift"] if d["target"] == "accepts"}


@pytest.fixture
def scene(make_lab) -> Scene:
    lab = make_lab(hosts=1, world=True)
    return Scene(OneHost(lab.hosts[0]), lab.host("world"))


def refuse(host: LabHost, *programs: str) -> None:
    """As Docker and ufw leave it, all rules made anew. Without neighbours there is no IPv6."""
    for program in programs:
        host.run(program, "-F")
        for base in ("FORWARD", "INPUT"):
            host.run(program, "-P", base, "DROP")
        if program.startswith("ip6"):
            host.run(program, "-A", "INPUT", "-p", "icmpv6", "-j", "ACCEPT")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_container_reaches_the_world_and_its_host_where_iptables_drops(scene, flavour):
    programs = FLAVOURS[flavour]
    refuse(scene.host, *programs)
    scene.host.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    a = scene.begin()
    for program in programs:
        scene.wait("the accepts", program, "FORWARD", "INPUT")
    scene.reaches_all(a)
    assert not scene.world.reaches(scene.host.address4)  # as they wanted it

    refuse(scene.host, *programs)
    for program in programs:
        scene.wait("the repair", program, "FORWARD", "INPUT")
    scene.reaches_all(a)
    assert {f"{p} {c}" for p in programs for c in ("FORWARD", "INPUT")} == scene.drift()


def test_a_chain_that_ends_in_a_reject_is_one_that_drops_and_is_left_when_it_no_longer_does(scene):
    a = scene.begin()
    for program in FLAVOURS["nft"]:
        for base in ("FORWARD", "INPUT"):
            scene.host.run(program, "-A", base, "-p", "icmpv6", "-j", "ACCEPT")
            scene.host.run(program, "-A", base, "-j", "REJECT")
    for program in FLAVOURS["nft"]:
        scene.wait("the accepts", program, "FORWARD", "INPUT")
    scene.reaches_all(a)

    scene.host.run(NFT4, "-D", "INPUT", "-j", "REJECT")
    scene.wait("the end", NFT4, "INPUT", there=False)
    assert ["-A INPUT -p ipv6-icmp -j ACCEPT"] == chain(scene.host, NFT4, "INPUT")
    assert set() == scene.drift()


def test_dockers_engine_starts_stops_and_rebuilds_its_rules_while_traffic_runs(scene):
    host = scene.host
    start_docker(host)
    assert "-P FORWARD DROP" in host.run(NFT4, "-S", "FORWARD")
    a = scene.begin()
    scene.wait("the accepts", NFT4, "DOCKER-USER")
    with exchanging(host, "a", scene.world):
        assert not accepts(host, NFT4, "FORWARD")
        scene.reaches_all(a)

        host.run(NFT4, "-F")
        scene.wait("the repair of a chain that nobody asks", NFT4, "FORWARD")
        stop_docker(host)
        start_docker(host)
        scene.wait("the accepts again", NFT4, "DOCKER-USER")
        scene.wait("the end of the other", NFT4, "FORWARD", there=False)
        scene.reaches_all(a)
    _dockers_containers_reach_the_world_and_none_of_ours(host, a)


def _dockers_containers_reach_the_world_and_none_of_ours(host: LabHost, a: Bare) -> None:
    Path(f"/proc/{host.pid}/root{docker.ARCHIVE}").write_bytes(docker.image())
    host.run("docker", "import", docker.ARCHIVE, docker.IMAGE)
    _dockers_containers_reach_the_world(host)
    ping = ("docker", "run", "--rm", docker.IMAGE, "/bin/busybox", "ping", "-c1", "-W1")
    assert 0 != host.call(*ping, a.addresses()[0]).returncode


def test_dockers_containers_are_reached_by_ours_where_they_publish_and_nowhere_else(scene):
    host = scene.host
    start_docker(host)
    a = scene.begin()
    Path(f"/proc/{host.pid}/root{docker.ARCHIVE}").write_bytes(docker.image())
    host.run("docker", "import", docker.ARCHIVE, docker.IMAGE)
    scene.wait("the accepts", NFT4, "DOCKER-USER")
    closed = _web(host, "closed")
    _web(host, "open", "--publish=8080:80")
    host.run("docker", "network", "create", "later")
    host.wait_for("the second bridge", lambda: len(_left_to_docker(host)) == 2)
    later = _web(host, "later", "--network=later")

    for address in (closed, later):
        host.wait_for("its server", lambda at=address: _connects(host, at))
        assert not a.connects(address, 80)
    host.wait_for("the open one", lambda: a.connects(host.address4, 8080))
    scene.reaches_all(a)

    host.run("docker", "rm", "-f", "later")
    host.run("docker", "network", "rm", "later")
    host.wait_for("the first alone", lambda: len(_left_to_docker(host)) == 1)
    assert not a.connects(closed, 80)
    assert set() == scene.drift()


def test_dockers_closed_ports_stay_closed_to_the_world_where_we_turned_forwarding_on(scene):
    """Docker leaves FORWARD open on a host that forwards already."""
    host, world = scene.host, scene.world
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    scene.begin()
    start_docker(host)
    assert "-P FORWARD ACCEPT" in host.run(NFT4, "-S", "FORWARD")
    Path(f"/proc/{host.pid}/root{docker.ARCHIVE}").write_bytes(docker.image())
    host.run("docker", "import", docker.ARCHIVE, docker.IMAGE)
    closed = _web(host, "closed")
    _web(host, "open", "--publish=8080:80")
    host.wait_for("its server", lambda: _connects(host, closed))
    host.wait_for("the other", lambda: _connects(host, "127.0.0.1", 8080))
    scene.wait("the drop", NFT4, "FORWARD")

    world.run("ip", "route", "add", f"{closed}/32", "via", str(host.address4))
    host.wait_for("the open one", lambda: _connects(world, str(host.address4), 8080))
    assert not _connects(world, closed)
    told = [f for f in findings(host) if "docker0" in f["found"] and f["check"] != "offloads"]
    assert [("docker", "ok")] == [(finding["check"], finding["level"]) for finding in told]
    _dockers_containers_reach_the_world(host)
    assert set() == scene.drift()

    gone = host.call(SEAWAY, "uninstall", "--yes", "--force", timeout=60)
    assert "iptables-nft -P FORWARD DROP" in gone.stderr
    assert not accepts(host, NFT4, "FORWARD")
    _dockers_containers_reach_the_world(host)


def _dockers_containers_reach_the_world(host: LabHost) -> None:
    ping = ("docker", "run", "--rm", docker.IMAGE, "/bin/busybox", "ping", "-c1", "-W10")
    assert 0 == host.call(*ping, INTERNET[0], timeout=60).returncode


def _web(host: LabHost, name: str, *options: str) -> str:
    """A container of Docker's that serves port 80; its address."""
    serve = ("/bin/busybox", "httpd", "-f", "-p", "80")
    command = ("docker", "run", "--detach", f"--name={name}", *options, docker.IMAGE, *serve)
    host.run(*command, timeout=60)
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return host.run("docker", "inspect", f"--format={form}", name).strip()


def _connects(host: LabHost, address: str, port: int = 80) -> bool:
    inside = ["timeout", "1", "bash", "-c", f": < /dev/tcp/{address}/{port}"]
    return host.call(*inside).returncode == 0


def _left_to_docker(host: LabHost) -> list[str]:
    """Our rules that leave a bridge to Docker's own."""
    rules = chain(host, NFT4, "DOCKER-USER")
    return [rule for rule in rules if MARK in rule and rule.endswith("-j RETURN")]


def test_ufw_is_enabled_reloaded_and_disabled_while_traffic_runs(scene):
    a, host = scene.begin(), scene.host
    with exchanging(host, "a", scene.world):
        host.run("ufw", "--force", "enable")
        for program in FLAVOURS["nft"]:
            scene.wait("the accepts", program, "FORWARD", "INPUT")
        scene.reaches_all(a)
        host.run("ufw", "reload")
        for program in FLAVOURS["nft"]:
            scene.wait("the accepts after a reload", program, "FORWARD", "INPUT")
        scene.reaches_all(a)
        host.run("ufw", "disable")
        scene.wait("the end", NFT4, "FORWARD", "INPUT", there=False)
        scene.reaches_all(a)


def trusted(host: LabHost) -> bool:
    """Whether firewalld has our devices in its zone that accepts all."""
    zones = host.call("nft", "list", "chain", "inet", "firewalld", "filter_INPUT_ZONES").stdout
    return f'iifname "{names.LINK_PREFIX}*" goto filter_IN_trusted' in zones


def test_firewalld_starts_and_reloads_while_traffic_runs(scene):
    a, host = scene.begin(), scene.host
    with exchanging(host, "a", scene.world):
        start_firewalld(host)
        host.wait_for("the zone", lambda: trusted(host))
        scene.reaches_all(a)
        host.run("firewall-cmd", "--reload")
        host.wait_for("the zone after a reload", lambda: trusted(host))
        scene.reaches_all(a)
    assert scene.drift() <= {"firewalld trusted"}  # or seen while it was gone: no drift

    scene.one.seaway("uninstall", "--yes", "--force")
    assert not trusted(host)


FOREIGN = """
table inet filter {
	comment "mine"
	set friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
	chain forward {
		type filter hook forward priority filter; policy drop;
		ip saddr @friends accept
	}
	chain input {
		type filter hook input priority filter; policy accept;
		counter accept comment "seaway"
	}
}
table ip nat {
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 192.0.2.7 masquerade
	}
}
table ip seaway {
	chain x {
	}
}
table netdev n {
	chain c {
	}
}
"""
OTHERS = ("inet filter", "ip nat", "ip seaway", "netdev n")


def test_nftables_tables_of_others_stay_byte_for_byte_and_doctor_says_what_they_lack(scene):
    host = scene.host
    host.run("nft", "-f", "-", stdin=FOREIGN)

    def listed() -> list[str]:
        return [host.run("nft", "-s", "list", "table", *table.split()) for table in OTHERS]

    before = listed()
    a = scene.begin()
    scene.one.seaway("network", "create", "web")
    assert a.is_kept_from(INTERNET[0])
    (told,) = [f for f in findings(host) if "inet filter forward" in f["found"]]
    assert ("firewall", "warning") == (told["check"], told["level"])
    assert before == listed()

    for rule in told["advice"].partition(": ")[2].split("; "):
        host.run("sh", "-c", rule)
    scene.reaches_all(a)
    (told,) = [f for f in findings(host) if "inet filter forward" in f["found"]]
    assert ("firewall", "ok") == (told["check"], told["level"])
    for rule in host.run("nft", "-a", "list", "chain", "inet", "filter", "forward").splitlines():
        if f'"{names.LINK_PREFIX}*"' in rule:
            handle = rule.rsplit(maxsplit=1)[1]
            host.run("nft", "delete", "rule", "inet", "filter", "forward", "handle", handle)
    scene.one.seaway("uninstall", "--yes", "--force")
    assert before == listed()


def findings(host: LabHost) -> list[dict[str, str]]:
    return json.loads(host.call(SEAWAY, "doctor", "-o", "json").stdout)


def test_rules_that_only_look_like_ours_are_left(scene):
    host = scene.host
    refuse(host, NFT4)
    theirs = [("-m", "comment", "--comment", "seaway too"), ("-i", "swy+")]
    for words in theirs:
        host.run(NFT4, "-A", "FORWARD", *words, "-j", "ACCEPT")
    before = chain(host, NFT4, "FORWARD")
    scene.begin()
    scene.wait("the accepts", NFT4, "FORWARD")
    scene.one.seaway("uninstall", "--yes", "--force")

    assert before == chain(host, NFT4, "FORWARD")


def test_an_iptables_that_is_locked_is_waited_for_then_told_and_holds_up_nothing(scene):
    host = scene.host
    refuse(host, "iptables-legacy", NFT6)
    with host.popen("flock", "--close", "/run/xtables.lock", "sleep", "600") as holder:
        try:
            host.wait_for(
                "the lock", lambda: host.call("flock", "-n", "/run/xtables.lock", "true").returncode
            )
            scene.begin()
            scene.wait("the accepts of the others", NFT6, "FORWARD", "INPUT")
            failures = []
            host.wait_for(
                "a word", lambda: failures.extend(scene.one.told("status")["failures"]) or failures
            )
        finally:
            holder.kill()
    assert all("holding the xtables lock" in failure["error"] for failure in failures)
    scene.wait("the accepts", "iptables-legacy", "FORWARD", "INPUT")


def test_where_there_is_no_iptables_doctor_says_so_and_all_else_works(scene):
    host = scene.host
    refuse(host, NFT4)
    for program in ("xtables-nft-multi", "xtables-legacy-multi"):
        host.run("mount", "--bind", "/dev/null", f"/usr/sbin/{program}")
    a = scene.begin()
    b = scene.one.attach("b")
    assert a.reaches(b.addresses()[0])
    assert a.reaches(INTERNET[1])
    assert [] == scene.one.told("status")["failures"]
    told = [f for f in findings(host) if "no program 'iptables-nft'" in f["found"]]

    assert 2 == len(told)  # FORWARD, INPUT
    assert {("warning", "apt-get install iptables")} == {(f["level"], f["advice"]) for f in told}


HOSTILE = {
    "/etc/ufw/ufw.conf": "ENABLED=yes\n",
    "/etc/ufw/sysctl.conf": "net/ipv4/ip_forward=0\n",
    "/etc/default/ufw": "MANAGE_BUILTINS=yes\n",
    "/etc/docker/daemon.json": '{"firewall-backend": "nftables"}',
    "/run/docker.sock": "",
    "/run/systemd/netif/state": "",
    "/etc/systemd/network/10-all.network": "[Match]\nName=*\n[Network]\nDHCP=yes\n",
    "/etc/systemd/network/20-veth.network": "[Match]\nKind=veth\n",
    "/etc/systemd/network/30-lan.network": "[Match]\nName=en* eth*\n",
    "/run/NetworkManager/state": "",
    "/etc/sysctl.d/99-hard.conf": "net.ipv6.conf.all.forwarding = 0\n",
    "/proc/sys/net/ipv4/conf/all/rp_filter": "1\n",
}
NAMED = {
    ("ufw", "ok", "ufw is enabled"),
    ("ufw", "warning", "MANAGE_BUILTINS=yes"),
    ("ufw", "warning", "/etc/ufw/sysctl.conf sets net/ipv4/ip_forward to 0"),
    ("docker", "ok", "Docker runs with nftables"),
    ("networkd", "warning", "takes our devices by /etc/systemd/network/10-all.network"),
    ("networkd", "warning", "takes our devices by /etc/systemd/network/20-veth.network"),
    ("networkd", "ok", "may remove routes of others"),
    ("networkmanager", "warning", "NetworkManager runs"),
    ("forwarding", "warning", "/etc/sysctl.d/99-hard.conf sets net.ipv6.conf.all.forwarding to 0"),
    ("rp_filter", "warning", "net.ipv4.conf.all.rp_filter is 1"),
    ("firewall", "warning", "iptables-legacy: FORWARD refuses what it does not know"),
}
MENDED = {
    "/etc/systemd/network/10-all.network": "[Match]\nName=!swy* *\n",
    "/etc/systemd/network/20-veth.network": "[Match]\nKind=veth\nName=veth*\n",
    "/etc/systemd/networkd.conf": "[Network]\nManageForeignRoutes=no\n",
    "/etc/NetworkManager/conf.d/s.conf": "[keyfile]\nunmanaged-devices=interface-name:swy*\n",
}


def test_doctor_names_each_hostile_setting_with_what_to_do(lab_host):
    for path, text in HOSTILE.items():
        lab_host.write(Path(path), text)
    lab_host.run("iptables-legacy", "-P", "FORWARD", "DROP")
    told = findings(lab_host)
    for check, level, words in NAMED:
        found = [f for f in told if f["check"] == check and words in f["found"]]
        assert [level] == [f["level"] for f in found], (words, told)
        assert found[0]["advice"], words
    assert not any("30-lan" in f["found"] for f in told)

    for path, text in MENDED.items():
        lab_host.write(Path(path), text)
    mended = {f["check"]: f["level"] for f in findings(lab_host)}
    assert ("ok", "ok") == (mended["networkd"], mended["networkmanager"])


def test_udev_gives_our_devices_no_other_mac(scene):
    """Whoever leaves a device's MAC to the kernel gets a new one from udev, a little later."""
    host = scene.host
    start_udevd(host)
    a = scene.begin()
    link = scene.one.told("endpoint", "inspect", "a")["link"]
    before = a.run("cat", "/sys/class/net/eth0/address")
    host.run("ip", "link", "add", "strange", "type", "veth", "peer", "name", "stranger")
    host.run("udevadm", "settle", "--timeout=60", timeout=90)

    def said(words: str) -> bool:
        return words in host.read(Path("/run/udevd.log"))

    host.wait_for("its MAC", lambda: said("strange: Applying persistent MAC address"))
    host.wait_for("ours", lambda: said(f"{link}: Config file"))
    assert not said(f"{link}: Applying persistent MAC address")
    assert names.GATEWAY_MAC == host.read(Path(f"/sys/class/net/{link}/address")).strip()
    assert before == a.run("cat", "/sys/class/net/eth0/address")
    scene.reaches_all(a)
    assert [] == scene.one.told("status")["drift"]


LOOKS = (
    "nft -s list ruleset",
    *(f"{program}-save" for programs in FLAVOURS.values() for program in programs),
    "ip -j -d link show",
    "ip -j addr show",
    "ip -j route show table all",
    "ip -j -6 route show table all",
    "ip -j rule show",
    "sysctl -a -r ^net",
    "find /etc /opt /run /var/lib /var/log /sys/fs/bpf -printf %p:%m:%u:%g:%l\\n",
)
PASSING = {"valid_life_time", "preferred_life_time", "expires", "used", "age", "cache"}
PASSING |= {f"{name}_timer" for name in ("hello", "tcn", "topology_change", "gc")}  # of bridges


def state(host: LabHost) -> dict[str, object]:
    """Every place in which something could be left behind; without counters and clocks."""
    return {look: _lasting(look, host.run(*look.split())) for look in LOOKS}


def _lasting(look: str, text: str) -> object:
    if look.startswith("ip -j"):
        return _without_passing(json.loads(text or "[]"))
    return sorted(
        line.partition(" [")[0]
        for line in text.splitlines()
        if not line.startswith("#") and "xtables.lock" not in line
    )


def _without_passing(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_passing(v) for k, v in value.items() if k not in PASSING}
    return [_without_passing(item) for item in value] if isinstance(value, list) else value


def _with_ufw(scene: Scene) -> None:
    """And with legacy tables that drop, and tables of nftables."""
    scene.host.run("nft", "-f", "-", stdin=FOREIGN)
    scene.host.run("ufw", "--force", "enable")
    refuse(scene.host, *FLAVOURS["legacy"])
    _forward_nothing(scene.host)


def _accepted_by_all(scene: Scene) -> None:
    for programs in FLAVOURS.values():
        for program in programs:
            scene.wait("the accepts", program, "FORWARD", "INPUT")


def _with_firewalld(scene: Scene) -> None:
    start_firewalld(scene.host)
    _without_unused_chains(scene)
    _forward_nothing(scene.host)


def _forward_nothing(host: LabHost) -> None:
    """Docker lives by forwarding, so beside it that stays on."""
    host.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0", "net.ipv4.ip_forward=0")


def _without_unused_chains(scene: Scene) -> None:
    """firewalld keeps those of a zone that had an interface until it reads its rules again; which
    interface is in which zone, it tells at any time.
    """
    host = scene.host
    if host.call("firewall-cmd", "--state").returncode == 0:
        assert names.LINK_PREFIX not in host.run("firewall-cmd", "--list-all-zones")
        host.run("firewall-cmd", "--reload")


MASTERS = {
    "ufw": (_with_ufw, _accepted_by_all),
    "docker": (
        lambda scene: start_docker(scene.host),
        lambda scene: scene.wait("the accepts", NFT4, "DOCKER-USER"),
    ),
    "firewalld": (
        _with_firewalld,
        lambda scene: scene.host.wait_for("the zone", lambda: trusted(scene.host)),
    ),
}


@pytest.mark.parametrize("master", MASTERS)
def test_uninstall_leaves_a_host_with_other_masters_as_it_was(scene, master):
    host, (begin, accepted) = scene.host, MASTERS[master]
    begin(scene)
    host.run("sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=5000,8080")
    host.run("ip", "netns", "add", "a")
    before = state(host)

    host.start_agent()
    host.seaway("attach", "a", "--name", "a", "-p", "8080:80", "-p", "8081:81")
    scene.one.seaway("network", "create", "web", "--open")
    accepted(scene)
    assert before != state(host)
    told = host.run("sysctl", "-n", "net.ipv4.ip_forward", "net.ipv4.ip_local_reserved_ports")
    assert ["1", "5000,8080-8081"] == told.split()
    host.seaway("uninstall", "--yes", "--force", timeout=60)
    _without_unused_chains(scene)

    after = state(host)
    for look, found in before.items():
        assert found == after[look], look
