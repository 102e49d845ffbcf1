"""Namespaces as they are found and visited, and what a host is like without us."""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from namespaces import Netns
from seaway.bpf import askers, syscall
from seaway.errors import HostUnfit
from seaway.kernel import host as hosts
from seaway.kernel import netns, outside
from seaway.kernel.addresses import AddressTarget
from seaway.model.kernel import HostAddress
from waiting import wait

OWN = Path("/proc/self/ns/net")


@pytest.fixture
def host(make_netns: Callable[[], Netns]) -> Netns:
    return make_netns()


def test_a_namespace_is_known_by_its_inode_until_it_is_gone(host):
    assert host.inode == netns.inode(host.path)
    assert host.inode == netns.present(host.path)
    host.remove()
    assert netns.present(host.path) is None
    assert netns.present(host.path / "under") is None
    with pytest.raises(FileNotFoundError):
        netns.inode(host.path)


def test_a_namespace_that_cannot_be_looked_at_is_not_gone(host):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            netns.present(host.path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_path_to_something_else_is_no_namespace(tmp_path):
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.touch()
    os.mkfifo(pipe)
    for path in (file, Path("/proc/self/ns/mnt"), pipe):  # whose opening would wait for a writer
        with pytest.raises(OSError, match="no network namespace") as caught:
            netns.inode(path)
        assert errno.EINVAL == caught.value.errno
        assert netns.present(path) is None


def test_a_user_names_a_namespace_by_path_name_or_process(host):
    assert host.path == netns.find(str(host.path))
    assert host.path == netns.find(host.name)
    assert Path(f"/proc/{os.getpid()}/ns/net") == netns.find(str(os.getpid()))


def test_only_the_visitor_goes_there_and_it_comes_back(host):
    def where() -> tuple[int, int]:
        return Path("/proc/thread-self/ns/net").stat().st_ino, threading.get_ident()

    home = OWN.stat().st_ino
    first, second = netns.visit_path(host.path, where), netns.visit_path(host.path, where)
    assert (host.inode, host.inode) == (first[0], second[0])
    assert first[1] == second[1] != threading.get_ident()
    assert (home, threading.get_ident()) == where()
    assert home == netns.visit_path(OWN, where)[0]


def test_what_fails_inside_is_raised_here_and_leaves_the_visitor_at_home(host):
    def fail() -> None:
        raise OSError(errno.EPERM, "refused")

    with pytest.raises(PermissionError, match="refused"):
        netns.visit_path(host.path, fail)
    assert OWN.stat().st_ino == netns.visit_path(
        OWN, lambda: Path("/proc/thread-self/ns/net").stat().st_ino
    )


def test_foreign_prefixes_are_what_the_host_routes_without_us(host):
    host.run("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
    host.run("ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad")
    host.run("ip route add 10.0.0.0/8 via 192.0.2.9; ip route add default via 192.0.2.9")
    host.run("ip route add 10.208.0.7/32 dev up0 proto 83")
    host.run("ip route add 198.51.100.0/24 dev up0 table 77")

    host.run("ip route add 203.0.113.0/24 nexthop via 192.0.2.10 nexthop via 192.0.2.11")

    within, own = "a network that this host is in", "an address of this host"
    assert [
        ("0.0.0.0/0", "a route of this host", True),
        ("10.0.0.0/8", "a route of this host", True),
        ("192.0.2.0/24", within, False),
        ("192.0.2.1/32", own, False),
        ("192.0.2.9/32", "the next hop of this host's route to 10.0.0.0/8", False),
        ("192.0.2.10/32", "the next hop of this host's route to 203.0.113.0/24", False),
        ("192.0.2.11/32", "the next hop of this host's route to 203.0.113.0/24", False),
        ("198.51.100.0/24", within, False),
        ("203.0.113.0/24", "a route of this host", True),
        ("2001:db8::/64", within, False),
        ("2001:db8::1/128", own, False),
    ] == [(str(f.prefix), f.what, f.yields) for f in hosts.foreign_prefixes(host.path)]


@pytest.mark.parametrize("half", ["0.0.0.0/1", "default"])
def test_a_device_that_leads_everywhere_is_no_network_of_the_host(host, half):
    host.run("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
    host.run(f"ip route add {half} dev up0 scope link")

    assert [True] == [f.yields for f in hosts.foreign_prefixes(host.path)]


def test_the_uplinks_mtu_is_that_of_the_default_route(host):
    assert 1500 == hosts.uplink_mtu(host.path)
    host.run("ip link add up0 mtu 1400 type veth peer name up1; ip link set up0 up")
    assert 1500 == hosts.uplink_mtu(host.path)
    host.run("ip addr add 192.0.2.1/24 dev up0; ip route add default dev up0")

    assert 1400 == hosts.uplink_mtu(host.path)


def test_devices_whose_route_a_router_told_are_named(host):
    host.run("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
    host.run("ip -6 route add default dev up1")
    assert [] == outside.learnt_by_ra(host.path)
    host.run("ip -6 route add default dev up0 proto ra metric 5")

    assert ["up0"] == outside.learnt_by_ra(host.path)


def test_devices_with_an_address_are_named_but_not_those_that_serve_another(host):
    """As Docker leaves it: each veth of its bridge has a link-local address."""
    host.run("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0")
    for name in ("up0", "veth1", "veth2", "bare"):
        host.run(f"ip link add {name} type veth peer name {name}p; ip link set {name}p up")
    host.run("ip addr add 192.0.2.1/24 dev up0; ip link set bare addrgenmode none")
    for name in ("veth1", "veth2"):
        host.run(f"ip link set {name} master docker0; ip addr add fe80::{name[-1]}/64 dev {name}")
    for name in ("docker0", "up0", "veth1", "veth2", "bare"):
        host.run(f"ip link set {name} up")
    assert wait(lambda: 4 < host.run("ip -br addr").count("fe80::"))

    assert ["docker0", "up0"] == [
        name for name, _ in outside.addressed_devices(host.path) if not name.endswith("p")
    ]
    host.run("ip link set veth2 nomaster")
    assert "veth2" in dict(outside.addressed_devices(host.path))


def test_devices_without_ethernet_by_which_others_may_come_are_named(host):
    for name in ("tun0", "tun1", "tun2", "tun3"):
        host.run(f"ip tuntap add {name} mode tun; ip link set {name} up")
    host.run("ip link set lo up; ip link add up0 type veth peer name up1; ip link set up0 up")
    host.run("ip addr add 192.0.2.1/24 dev up0; ip addr add fe80::7/64 dev tun2 nodad")
    assert [] == outside.findings(host.path)
    host.run("ip addr add 10.0.0.1/24 dev tun0; ip route add 100.64.0.0/10 dev tun1 table 52")
    host.run("ip addr add 10.0.3.1/24 dev tun3; ip link set tun3 down")

    (finding,) = outside.findings(host.path)
    assert ("uplinks", "warning") == (finding.check, finding.level)
    assert finding.found.startswith("tun0, tun1: not Ethernet")
    assert finding.advice


def known(host: Netns) -> set[str]:
    return {str(address.ip) for address in outside.known_addresses(host.path)}


@pytest.fixture
def docked(host: Netns) -> Netns:
    """A host with one wire, and Docker's bridge with two containers."""
    host.run("sysctl -q -w net.ipv6.conf.default.accept_dad=0; ip link set lo up")
    host.run("ip link add docker0 type bridge; ip link set docker0 up")
    host.run("ip addr add 172.17.0.1/16 dev docker0; ip addr add fd00:17::1/64 dev docker0")
    for name in ("eth0", "veth1", "veth2"):
        host.run(f"ip link add {name} type veth peer name {name}p; ip link set {name}p up")
        host.run(f"ip link set {name} up")
    for name in ("veth1", "veth2"):
        host.run(f"ip link set {name} master docker0")
    host.run("ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0")
    return host


def test_others_know_a_host_with_docker_by_its_wire_alone(docked):
    ours = ip_address("10.223.0.1")
    with closing(AddressTarget(docked.path)) as target:
        assert {} == target.put({ours: HostAddress(ours)})
    assert {"192.0.2.1", "2001:db8::1"} == known(docked)
    docked.run("ip addr add 198.51.100.9/32 dev lo")
    assert {"192.0.2.1", "2001:db8::1", "198.51.100.9"} == known(docked)


def test_the_segments_of_a_host_are_those_of_its_wires(docked):
    docked.run("ip addr add 198.51.100.9/32 dev lo")
    found = outside.uplinks(docked.path).segments
    assert {"192.0.2.0/24", "2001:db8::/64"} == set(map(str, found))


def test_addresses_that_pass_are_known_to_nobody(docked):
    docked.run("sysctl -q -w net.ipv6.conf.eth0.use_tempaddr=2")
    docked.run("ip addr add 2001:db8:7::1/64 dev eth0 mngtmpaddr")
    docked.run("ip addr add 192.0.2.7/24 dev eth0 preferred_lft 0")
    docked.run("ip addr add 2001:db8::7/64 dev eth0 preferred_lft 0")
    assert wait(lambda: "temporary" in docked.run("ip addr show dev eth0"))

    assert {"192.0.2.1", "2001:db8::1", "2001:db8:7::1"} == known(docked)
    docked.run("ip addr add 192.0.2.8/24 dev eth0")  # the second of its net: no matter
    assert "192.0.2.8" in known(docked)


def test_a_bridge_that_a_wire_is_in_or_that_leads_on_is_known(docked):
    docked.run("ip link add wire0 link eth0 type macvlan; ip link set wire0 master docker0")
    assert {"172.17.0.1", "fd00:17::1"} <= known(docked)
    docked.run("ip link set wire0 nomaster")
    assert "172.17.0.1" not in known(docked)
    docked.run("ip route add 203.0.113.0/24 via 172.17.0.9")
    assert "172.17.0.1" in known(docked)
    docked.run("ip route del 203.0.113.0/24; ip route add default dev docker0 table 77")
    assert "172.17.0.1" in known(docked)


def test_a_tunnel_that_leads_nowhere_else_is_not_known(docked):
    docked.run("ip tuntap add tun0 mode tun; ip link set tun0 up; ip addr add 10.9.0.1/24 dev tun0")
    assert "10.9.0.1" not in known(docked)
    docked.run("ip route add default dev tun0")
    assert "10.9.0.1" in known(docked)


def test_a_bpf_file_system_is_mounted_where_there_is_none(lab_host):
    program = """
from pathlib import Path
from seaway.kernel.host import has_bpffs, mount_bpffs
folder = Path("/run/pins")
folder.mkdir()
before = has_bpffs(folder)
mount_bpffs(folder)
mount_bpffs(folder)
print(before, has_bpffs(folder), has_bpffs())
"""
    assert "False True True" == lab_host.run(sys.executable, "-c", program).strip()


def test_root_on_a_present_kernel_is_fit():
    hosts.require(syscall.probe)

    assert [] == [finding for finding in hosts.findings() if finding.level == "error"]


def test_this_kernel_ends_sockets():
    assert ["ok"] == [finding.level for finding in askers.findings()]


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSYS, r"this kernel has no bpf\(2\)"), (errno.EPERM, r"bpf\(2\) is not allowed")],
)
def test_a_kernel_without_bpf_is_unfit(number, told):
    def probe() -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(HostUnfit, match=told):
        hosts.require(probe)


def test_a_kernel_without_btf_is_unfit(tmp_path):
    with pytest.raises(HostUnfit, match="this kernel has no BTF"):
        hosts.require(syscall.probe, tmp_path / "vmlinux")
