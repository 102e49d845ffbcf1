"""Every CNI verb, in every version, through the C front and the real agent, as libcni calls them.

┌─────────────────── host1 ────────────────────┐
│ ┌── a ──┐                          ┌── b ──┐ │
│ │ eth0 ─┼─ veth ── agent, BPF ─────┼─ eth0 │ │
│ └───────┘    ▲                     └───────┘ │
│              └─ /opt/cni/bin/seaway          │
└──────────────────────────────────────────────┘
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from libcni import PluginFailed, Runtime
from seaway import lab as labs
from seaway import names
from seaway.lab.containerd import install_plugins
from seaway.lab.hosts import SEAWAY
from seaway.model import codec
from seaway.model.facts import Publication
from waiting import wait

from .conftest import OneHost

STATUS = ("status", "-o", "json")
TRY_LATER = 11
SUPPORTED = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
HOST_LOCAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.99.0.0/24"}], [{"subnet": "fd99::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24"}],
}


def network(version="1.1.0", *chained, name="net", **fields):
    plugin = {"type": "seaway", **fields}
    return {"cniVersion": version, "name": name, "plugins": [plugin, *chained]}


@pytest.fixture(scope="module")
def shared():
    """One host for all of these tests: each leaves it as it was."""
    name = f"t{os.getpid()}-cni"
    try:
        host = labs.up(name, hosts=1).hosts[0]
        host.start_agent()
        install_plugins(host)
        tentative = ("ip", "-6", "addr", "show", "tentative")
        host.wait_for("addresses that stay", lambda: not host.run(*tentative))
        yield OneHost(host)
    finally:
        labs.down(name)


CLEAN = """
for ns in $(ls /run/netns); do umount -l /run/netns/$ns; rm -f /run/netns/$ns; done
ip link del cni0 2> /dev/null
rm -rf /var/lib/cni/* /var/lib/seaway/spool/*
"""


@pytest.fixture
def plugins(shared):
    before = shared.state()
    yield shared
    if not shared.host.agent_is_ready():
        shared.host.start_agent()
    for report in shared.told("endpoint", "ls"):
        shared.seaway("detach", report["endpoint"]["id"])
    for report in shared.told("network", "ls"):
        if report["network"]["name"] != "default":
            shared.seaway("network", "rm", report["network"]["name"])
    shared.host.run("sh", "-c", CLEAN)
    shared.host.wait_for("the host to be as it was", lambda: before == shared.state())


def addresses(result):
    return [ip["address"].partition("/")[0] for ip in result["ips"]]


def spool(one_host):
    return one_host.host.run("ls", str(names.SPOOL_FOLDER)).split()


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_container_lives_through_every_verb_and_leaves_nothing(plugins, version):
    runtime = Runtime(plugins.host, network(version))
    a, b = plugins.container("a"), plugins.container("b")
    before = plugins.state()

    told = {name: runtime.add(name) for name in ("a", "b")}

    assert version == told["a"]["cniVersion"]
    assert a.addresses() == addresses(told["a"])
    for address in addresses(told["b"]):
        assert a.reaches(address)
    for address in addresses(told["a"]):
        assert b.reaches(address)
        assert plugins.host.reaches(address)
    if version != "0.3.1":
        runtime.check("a")
    if version == "1.1.0":
        runtime.status()
        runtime.collect(("a", "eth0"), ("b", "eth0"))
        assert a.reaches(addresses(told["b"])[0])

    runtime.delete("a")
    runtime.delete("b")
    runtime.delete("b")
    assert before == plugins.state()


@pytest.mark.parametrize(("version", "verb"), [("0.3.1", "check"), ("1.0.0", "status")])
def test_a_verb_that_a_version_does_not_have_is_refused(plugins, version, verb):
    runtime = Runtime(plugins.host, network(version))
    plugins.container("a")
    runtime.add("a")
    with pytest.raises(PluginFailed, match="has no") as caught:
        getattr(runtime, verb)(*(["a"] if verb == "check" else []))
    assert 1 == caught.value.code


def test_versions_are_told_with_and_without_an_agent(plugins):
    runtime = Runtime(plugins.host, network())
    assert SUPPORTED == runtime.versions()
    plugins.host.kill_agent()
    assert SUPPORTED == runtime.versions()


def test_what_a_runtime_asks_for_is_what_the_container_has(plugins):
    able = dict.fromkeys(("ips", "mac", "dns", "aliases", "bandwidth"), True)
    runtime = Runtime(
        plugins.host,
        network(
            capabilities=able,
            mtu=1380,
            args={"cni": {"labels": [{"key": "app", "value": "web"}]}},
        ),
        args="IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0",
        capabilities={
            "ips": ["10.208.0.44"],
            "mac": "02:00:00:00:00:44",
            "dns": {"servers": ["10.0.0.2"], "searches": ["shop.svc"]},
            "aliases": ["front"],
            "bandwidth": {"ingressRate": 50_000_000, "ingressBurst": (1 << 31) - 1},
            "portMappings": [{"hostPort": 80, "containerPort": 80}],  # not declared: not passed
        },
    )
    a = plugins.container("a")

    told = runtime.add("a")

    assert "10.208.0.44" == addresses(told)[0]
    assert {"nameservers": ["10.0.0.2"], "search": ["shop.svc"]} == told["dns"]
    link = json.loads(a.run("ip", "-j", "link", "show", "eth0"))[0]
    assert ("02:00:00:00:00:44", 1380) == (link["address"], link["mtu"])
    (report,) = plugins.told("endpoint", "ls")
    labels = {
        "app": "web",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.name": "web-0",
    }
    assert labels == report["endpoint"]["labels"]
    assert ["front"] == report["endpoint"]["aliases"]
    limits = [
        report["endpoint"][f"{w}_{of}"] for w in ("ingress", "egress") for of in ("rate", "burst")
    ]
    assert [50_000_000, 0, 0, 0] == limits
    shaper = report["link"].replace("swy", "swyi")
    assert "rate 50Mbit" in plugins.host.run("tc", "qdisc", "show", "dev", shaper)
    runtime.check("a")


def test_an_address_is_taken_of_the_ranges_that_a_runtime_gives(plugins):
    ranges = [[{"subnet": "10.208.0.0/24", "rangeStart": "10.208.0.200"}]]
    runtime = Runtime(
        plugins.host, network(capabilities={"ipRanges": True}), capabilities={"ipRanges": ranges}
    )
    for n, name in enumerate(("a", "b")):
        plugins.container(name)
        assert f"10.208.0.{200 + n}" == addresses(runtime.add(name))[0]


# ── Chains ──


def test_a_later_plugin_of_the_chain_may_change_what_we_made(plugins):
    tuning = {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}, "allmulti": True}
    runtime = Runtime(plugins.host, network("1.0.0", tuning, {"type": "sbr"}))
    a = plugins.container("a")
    before = plugins.state()

    told = runtime.add("a")

    assert addresses(told) == a.addresses()
    assert "default" not in a.run("ip", "route")  # sbr has moved it
    assert "default" in a.run("ip", "route", "show", "table", "100")
    assert "500" == a.run("cat", "/proc/sys/net/core/somaxconn").strip()
    runtime.check("a")
    runtime.delete("a")
    assert before == plugins.state()


def test_an_interface_of_an_earlier_plugin_is_not_taken_over(plugins):
    ptp = {"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.98.0.0/24"}}
    conf = network("1.0.0")
    conf["plugins"].insert(0, ptp)
    runtime = Runtime(plugins.host, conf)
    plugins.container("a")

    with pytest.raises(PluginFailed, match="is there already") as caught:
        runtime.add("a")

    assert 101 == caught.value.code
    assert [] == plugins.told("endpoint", "ls")
    runtime.delete("a")


def test_a_second_network_joins_a_container_whose_default_route_is_anothers(plugins):
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "ipam": {"type": "host-local", "subnet": "10.97.0.0/24"},
    }
    first = Runtime(plugins.host, {"cniVersion": "1.0.0", "name": "first", "plugins": [bridge]})
    second = Runtime(plugins.host, network())
    a, b = plugins.container("a"), plugins.container("b")
    first.add("a")

    told = second.add("a", "eth1")

    second.add("b")
    assert b.addresses()
    assert a.reaches(b.addresses()[0])
    assert b.reaches(addresses(told)[0])
    second.check("a", "eth1")
    second.delete("a", "eth1")
    first.delete("a")


def test_published_ports_are_there_with_the_container_and_go_with_it(plugins):
    ports = [
        {"hostPort": 8080, "containerPort": 80, "protocol": "TCP"},
        {"hostPort": 5300, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
    ]
    conf = network(capabilities={"portMappings": True})
    runtime = Runtime(plugins.host, conf, capabilities={"portMappings": ports})
    for name in ("a", "b"):
        plugins.container(name)
    before = plugins.state()

    runtime.add("a")

    told = plugins.told("endpoint", "inspect", "a")
    assert ["8080:80/tcp", "127.0.0.1:5300:53/udp"] == [
        str(codec.from_builtins(port, Publication)) for port in told["endpoint"]["ports"]
    ]
    assert "8080:80/tcp, 127.0.0.1:5300:53/udp" in plugins.seaway("endpoint", "inspect", "a")
    runtime.check("a")
    with pytest.raises(PluginFailed, match="port 8080/tcp is taken by endpoint 'a'") as caught:
        runtime.add("b")
    assert 101 == caught.value.code

    runtime.delete("a")
    assert before == plugins.state()
    runtime.add("b")
    runtime.delete("b")
    assert before == plugins.state()


KEEPS = """
import os, signal, socket
kept = socket.create_server(("0.0.0.0", 8080))
print(os.getpid(), flush=True)
signal.pause()
"""


@contextmanager
def port_kept_as_by_nerdctl(host, namespace, container):
    """Its process has the port before the ADD, and nobody who connects there hears anything."""
    with host.popen(sys.executable, "-c", KEEPS, stdout=subprocess.PIPE) as keeper:
        pid_file = Path("/run/nerdctl") / namespace / container / "port-reserver.pid"
        host.write(pid_file, keeper.stdout.readline().strip())
        try:
            yield
        finally:
            keeper.kill()
            host.run("rm", "-r", str(pid_file.parent))


def test_a_container_is_attached_as_nerdctl_asks_for_it(plugins):
    mapping = {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "0.0.0.0"}
    six = plugins.told("network", "inspect", "default")["network"]["subnets"][1]
    asked = {"portMappings": [mapping], "ips": [str(ip_network(six)[0x44])]}
    able = {"portMappings": True, "ips": True}
    args = "IgnoreUnknown=1;IP=10.208.0.44;NERDCTL_CNI_DHCP_HOSTNAME=web"
    plugins.seaway("network", "create", "back")
    first = Runtime(plugins.host, network("1.0.0", capabilities=able), args, asked)
    both = asked | {"ips": []}
    back = network("1.0.0", name="back", network="back", capabilities=able)
    second = Runtime(plugins.host, back, "IgnoreUnknown=1", both)
    a, _ = plugins.container("blue-a"), plugins.container("b")
    before = plugins.state()

    with port_kept_as_by_nerdctl(plugins.host, "blue", "a"):
        first.delete("blue-a")  # whatever a container of that name may have left
        told = first.add("blue-a")
        second.add("blue-a", "eth1")

        assert ["10.208.0.44", asked["ips"][0]] == addresses(told) == a.addresses()
        first.check("blue-a")
        second.check("blue-a", "eth1")
        published = plugins.told("endpoint", "inspect", "blue-a")["endpoint"]["ports"]
        assert [8080] == [port["host_port"] for port in published]
        second.delete("blue-a", "eth1")
        first.delete("blue-a")
        with pytest.raises(PluginFailed, match=r"8080/tcp of .* is taken by python"):
            first.add("b")
    assert before == plugins.state()


# ── Bad input ──


def test_an_interface_that_exists_is_refused_and_stays(plugins):
    runtime = Runtime(plugins.host, network())
    a = plugins.container("a")
    a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "theirs")
    before = plugins.state()

    with pytest.raises(PluginFailed, match="exists already") as caught:
        runtime.add("a")

    assert 101 == caught.value.code
    assert before == plugins.state()
    runtime.delete("a")
    assert "eth0@theirs" in a.run("ip", "link")


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (2, {"capabilities": {"portMappings": True}}),  # SCTP
        (2, {"bridge": "cni0"}),
        (7, {"ipMasq": False}),
        (7, {"ipam": {"type": "../../bin/sh"}}),
        (100, {"network": "nowhere"}),
    ],
)
def test_bad_configurations_have_their_code_and_change_nothing(plugins, code, fields):
    ports = [{"hostPort": 80, "containerPort": 80, "protocol": "sctp"}]
    runtime = Runtime(plugins.host, network(**fields), capabilities={"portMappings": ports})
    plugins.container("a")
    before = plugins.state()

    with pytest.raises(PluginFailed) as caught:
        runtime.add("a")

    assert code == caught.value.code
    assert before == plugins.state()


def test_a_namespace_that_is_gone_is_code_3_for_an_add_and_no_error_for_a_del(plugins):
    runtime = Runtime(plugins.host, network())
    with pytest.raises(PluginFailed) as caught:
        runtime.add("nobody")
    assert 3 == caught.value.code

    plugins.container("a")
    before = plugins.state()
    runtime.add("a")
    plugins.host.run("ip", "netns", "del", "a")
    runtime.delete("a")
    assert before == plugins.state()


def test_the_hosts_own_namespace_is_never_attached(plugins):
    runtime = Runtime(plugins.host, network())
    plugins.host.run("sh", "-c", "mkdir -p /run/netns; touch /run/netns/own")
    plugins.host.run("mount", "--bind", "/proc/1/ns/net", "/run/netns/own")
    before = plugins.state()

    with pytest.raises(PluginFailed, match="the host's own network namespace") as caught:
        runtime.add("own")

    assert 4 == caught.value.code
    assert before == plugins.state()


# ── CHECK, GC, STATUS ──


def mended(runtime, container):
    """Whether a CHECK passes, or what it says."""
    try:
        runtime.check(container)
    except PluginFailed as failed:
        return f"{failed.code}: {failed.told['msg']}"
    return None


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("ip addr flush dev eth0 scope global", "address 10.208"),
        ("ip link set eth0 down", "the flag UP"),
        ("ip route del default", "route 0.0.0.0/0"),
    ],
)
def test_a_check_says_what_is_missing_until_the_agent_has_mended_it(plugins, harm, told):
    runtime = Runtime(plugins.host, network())
    a = plugins.container("a")
    runtime.add("a")
    found = []

    def caught():
        """The agent may be faster."""
        a.call(*harm.split())
        found[:] = [mended(runtime, "a")]
        return found[0] is not None

    plugins.host.wait_for("a CHECK to fail", caught, within=30)
    assert found[0].startswith("106: ")
    assert told in found[0]
    plugins.host.wait_for("the repair", lambda: mended(runtime, "a") is None, within=15)


def test_a_link_that_was_deleted_comes_again(plugins):
    runtime = Runtime(plugins.host, network())
    a = plugins.container("a")
    runtime.add("a")
    a.run("ip", "link", "del", "eth0")
    plugins.host.wait_for("the repair", lambda: mended(runtime, "a") is None)
    assert addresses(runtime.cached["a", "eth0"]) == a.addresses()


def test_gc_frees_what_is_not_listed(plugins):
    runtime, other = (Runtime(plugins.host, network(name=n)) for n in ("net", "other"))
    for name in ("a", "b", "c"):
        plugins.container(name)
    runtime.add("a")
    runtime.add("b")
    other.add("c")

    runtime.collect(("a", "eth0"))

    left = [e["endpoint"]["container"] for e in plugins.told("endpoint", "ls")]
    assert ["a", "c"] == sorted(left)


def test_status_fails_while_no_add_can_be_served(plugins):
    plugins.seaway("network", "create", "tiny", "--subnet", "10.96.0.0/30")
    runtime = Runtime(plugins.host, network(network="tiny"))
    runtime.status()
    for name in ("a", "b"):
        plugins.container(name)
        runtime.add(name)
    with pytest.raises(PluginFailed, match="no free address") as caught:
        runtime.status()
    assert 50 == caught.value.code


# ── Another IPAM ──


@pytest.mark.parametrize("version", SUPPORTED[:-1])
def test_host_local_gives_addresses_of_our_network(plugins, version):
    plugins.seaway("network", "create", "local", "--subnet", "10.99.0.0/24,fd99::/64")
    runtime = Runtime(plugins.host, network(version, network="local", ipam=HOST_LOCAL))
    a, b = plugins.container("a"), plugins.container("b")
    before = plugins.state()

    told = {name: runtime.add(name) for name in ("a", "b")}

    assert ["10.99.0.2/24", "fd99::2/64"] == [ip["address"] for ip in told["a"]["ips"]]
    assert ["10.99.0.1", "fd99::1"] == [ip["gateway"] for ip in told["a"]["ips"]]
    assert ["10.99.0.2", "fd99::2"] == a.addresses()
    for address in addresses(told["b"]):
        assert a.reaches(address)
    for address in addresses(told["a"]):
        assert b.reaches(address)
        assert plugins.host.reaches(address)
    host4 = plugins.told("status")["addresses"][0]
    assert a.reaches(host4)
    if version != "0.3.1":
        runtime.check("a")
    reserved = plugins.host.run("ls", "/var/lib/cni/networks/net")
    assert "10.99.0.2" in reserved

    runtime.delete("a")
    runtime.delete("a")
    runtime.delete("b")
    assert "10.99.0.2" not in plugins.host.run("ls", "/var/lib/cni/networks/net")
    assert before == plugins.state()


def test_an_ipam_plugin_that_does_not_speak_the_version_says_so_itself(plugins):
    plugins.seaway("network", "create", "local", "--subnet", "10.99.0.0/24,fd99::/64")
    runtime = Runtime(plugins.host, network("1.1.0", network="local", ipam=HOST_LOCAL))
    plugins.container("a")
    before = plugins.state()

    with pytest.raises(PluginFailed, match="IPAM plugin 'host-local'") as caught:
        runtime.add("a")

    assert 1 == caught.value.code
    assert before == plugins.state()


def test_what_host_local_gave_goes_back_when_the_rest_of_an_add_fails(plugins):
    plugins.seaway("network", "create", "local", "--subnet", "10.99.0.0/24,fd99::/64")
    runtime = Runtime(plugins.host, network("1.0.0", network="local", ipam=HOST_LOCAL))
    a = plugins.container("a")
    a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "theirs")

    with pytest.raises(PluginFailed):
        runtime.add("a")

    assert "10.99.0" not in plugins.host.run("ls", "/var/lib/cni/networks/net")


# ── A dead agent ──


def test_a_del_while_the_agent_is_dead_is_done_before_the_next_add(plugins):
    runtime = Runtime(plugins.host, network())
    plugins.container("a")
    before = plugins.state()
    first = runtime.add("a")
    plugins.host.kill_agent()

    runtime.delete("a")
    assert 1 == len(spool(plugins))
    with pytest.raises(PluginFailed) as caught:
        runtime.status()
    assert 50 == caught.value.code

    plugins.host.run("ip", "netns", "del", "a")
    again = plugins.container("a")
    plugins.host.start_agent()
    second = runtime.add("a")

    assert [] == spool(plugins)
    assert addresses(first) != addresses(second)
    assert again.addresses() == addresses(second)
    runtime.check("a")
    runtime.delete("a")
    assert before == plugins.state()


@contextmanager
def starting(host):
    """Its agent; whatever becomes of a test, nothing of `seaway init` is left."""
    folder = str(Path(sys.prefix) / "bin")
    with host.popen(
        *("sh", "-c", "seaway init"),
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
    ) as init:
        try:
            yield init
        finally:
            init.kill()


def added(runtime, container):
    """As runtimes do it: where the agent needed longer than an ADD waits, they try again later."""
    told = []

    def attempt():
        try:
            told.append(runtime.add(container))
        except PluginFailed as failed:
            if failed.code != TRY_LATER:
                raise
        return told

    assert wait(attempt, 60)
    return told[0]


def test_an_add_waits_for_an_agent_that_is_starting(plugins):
    runtime = Runtime(plugins.host, network())
    a = plugins.container("a")
    plugins.host.kill_agent()
    with starting(plugins.host) as init:
        told = added(runtime, "a")

        assert 0 == init.wait(60)
    assert a.addresses() == addresses(told)


STALL = """
cp /usr/sbin/nft /run/nft-itself && mkfifo /run/nft-may-write
printf '#!/bin/sh\ncase "$*" in *-f*) read _ < /run/nft-may-write;; esac\n' > /run/nft-stalled
echo 'exec /run/nft-itself "$@"' >> /run/nft-stalled
chmod +x /run/nft-stalled && mount --bind /run/nft-stalled /usr/sbin/nft
"""
# Whoever waits to open the pipe, or to read from it, or has yet to come, goes on.
GO_ON = """
if [ -p /run/nft-may-write ]; then
exec 3<> /run/nft-may-write; rm /run/nft-may-write; echo >&3
fi
"""
AS_BEFORE = "umount -l /usr/sbin/nft; rm /run/nft-itself /run/nft-stalled"


@contextmanager
def without_writes(host):
    """nft writes nothing there until it may go on: what is yielded lets it. One that has begun may
    use the files for as long as an agent starts.
    """
    host.run("sh", "-c", STALL)
    try:
        yield lambda: host.run("sh", "-c", GO_ON)
    finally:
        host.run("sh", "-c", f"{GO_ON}{AS_BEFORE}")


def test_an_add_waits_for_an_agent_that_answers_but_has_not_written_all_yet(plugins):
    runtime, host = Runtime(plugins.host, network()), plugins.host
    a = plugins.container("a")
    host.kill_agent()
    host.run("nft", "delete", "table", "inet", names.NFT_TABLE)
    with without_writes(host) as go_on, starting(host) as init, ThreadPoolExecutor(1) as pool:
        try:
            host.wait_for(
                "an answer", lambda: '"ready"' in host.call(SEAWAY, *STATUS).stdout, within=60
            )
            with pytest.raises(PluginFailed, match="the agent is starting") as caught:
                runtime.status()
            assert 50 == caught.value.code
            adding = pool.submit(added, runtime, "a")
        finally:
            go_on()
        told = adding.result(60)
        assert 0 == init.wait(60)

    assert a.addresses() == addresses(told)


def test_a_container_that_vanishes_while_its_del_waits_is_no_trouble(plugins):
    runtime = Runtime(plugins.host, network())
    before = plugins.state()
    plugins.container("a")
    runtime.add("a")
    plugins.host.kill_agent()
    runtime.delete("a")
    plugins.host.run("ip", "netns", "del", "a")

    plugins.host.start_agent()

    plugins.host.wait_for("the spool to be drained", lambda: spool(plugins) == [])
    plugins.host.wait_for("nothing to be left", lambda: before == plugins.state())
    assert [] == plugins.told("endpoint", "ls")


def test_many_at_once(plugins):
    runtime = Runtime(plugins.host, network())
    names_of = [f"c{n}" for n in range(16)]
    for name in names_of:
        plugins.container(name)
    before = plugins.state()

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(runtime.add, names_of))
        given = [address for result in told for address in addresses(result)]
        assert 32 == len(set(given))
        list(pool.map(runtime.delete, names_of))
    assert before == plugins.state()
