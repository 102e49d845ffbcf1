"""Hosts become a cluster, by real TLS on the wire between them, and go again.

┌── host1 ──┐   ┌── host2 ──┐   ┌── host3 ──┐
│  records  │   │           │   │           │   host3 can be kept from host1
└─────┬─────┘   └─────┬─────┘   └─────┬─────┘
──────┴────── wire ───┴───────────────┴──────
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from left import lasting, left
from seaway import names
from seaway.lab.hosts import SEAWAY

LOOKS = (
    "ip -br link",
    "ip -br addr",
    "ip route show table all",
    "ip -6 route show table all",
    "nft list ruleset",
    "find /etc/seaway /etc/cni /opt/cni /var/lib/seaway /run/seaway /sys/fs/bpf",
)


def state(host):
    return left(host, LOOKS)


# What `routed` writes whenever it knows more.
OF_ROUTED = ("/link-state", "/run/seaway/paths", "/run/seaway/routed", "/seaway/.")


def settled(host):
    """As it is once all that others began is done here: two looks tell the same."""
    looks = [state(host)]

    def same():
        looks.append(state(host))
        return looks[-2] == looks[-1]

    host.wait_for("it to settle", same)
    return looks[-1]


def as_it_was(before, host):
    """But for what goes on all the time."""
    after = state(host)
    return {k: lasting(v, OF_ROUTED) for k, v in before.items()} == {
        k: lasting(v, OF_ROUTED) for k, v in after.items()
    }


def told(host, *words):
    return json.loads(host.seaway(*words, "-o", "json"))


def token(host, *options):
    return told(host, "token", "create", *options)["token"]


def join(host, first, *options, by=None):
    host.seaway("join", by or token(first), str(first.address4), *options, timeout=60)


def refused(host, *words):
    """The exit status and the one line of a command that must fail, and change nothing here."""
    before = settled(host)
    done = host.call(SEAWAY, *words, timeout=60)
    assert done.returncode
    assert 1 == done.stderr.count("seaway: ")
    assert as_it_was(before, host)
    return done.returncode, done.stderr.splitlines()[-1]


def hosts(host):
    return [report["host"]["name"] for report in told(host, "host", "ls")]


def is_created(host, network):
    """By this call, or by an earlier one of which nobody was told whether it was done."""
    made = host.call(SEAWAY, "network", "create", network)
    return not made.returncode or network in host.seaway("network", "ls")


def attach(host, name):
    host.run("ip", "netns", "add", name)
    return told(host, "attach", name, "--name", name)


@pytest.fixture
def lab(make_lab):
    """Three hosts, of which the first is set up."""
    made = make_lab(hosts=3)
    made.hosts[0].seaway("init", timeout=60)
    return made


@pytest.fixture(scope="module")
def strangers(make_module_lab):
    """The first is set up, the second is refused: they are the same after each test."""
    made = make_module_lab(hosts=2)
    made.hosts[0].seaway("init", timeout=60)
    return made.hosts


@pytest.fixture(scope="module")
def members(make_module_lab):
    """The first is set up; the tests that join the others go on where the one before ended."""
    made = make_module_lab(hosts=3)
    made.hosts[0].seaway("init", timeout=60)
    return made.hosts


@pytest.fixture
def one(lab):
    return lab.hosts[0]


@pytest.fixture
def two(lab):
    return lab.hosts[1]


@pytest.fixture
def three(lab):
    return lab.hosts[2]


def test_a_host_that_is_alone_opens_no_port_and_loads_no_library_for_it(members):
    one = members[0]
    listening = "ss -Hltn"
    assert "8480" not in one.run(*listening.split())
    maps = f"/proc/{one.agent_pid()}/maps"
    assert "_rust.abi3" not in one.read(Path(maps))
    token(one)
    assert ":8480" in one.run(*listening.split())


def test_a_host_joins_by_one_command_and_both_know_it(members):
    one, two, _ = members
    command = one.seaway("token", "create").split()
    assert ["seaway", "join", str(one.address4)] == [*command[:2], command[3]]
    done = two.call(SEAWAY, *command[1:], timeout=60)
    assert 0 == done.returncode, done.stderr
    assert "the agent is ready" in done.stderr

    assert ["host1", "host2"] == hosts(one) == hosts(two)
    (first, second) = (report["host"] for report in told(two, "host", "ls"))
    assert (1, True) == (first["number"], first["control"])
    assert (2, False) == (second["number"], second["control"])
    assert [str(two.address4), str(two.address6)] == second["underlay"]
    own = told(two, "status")["addresses"]
    assert own == second["addresses"]
    assert all(one_address != own for one_address in first["addresses"])
    assert {own[0]} < set(re.findall(r"[\d.]+", two.run("ip", "-4", "addr", "show", "lo")))


def test_containers_of_both_hosts_get_different_addresses_and_reach_each_other(one, two):
    """From the join on, while agents are killed and begin anew."""
    join(two, one)
    found = [attach(host, name)["addresses"] for host in (one, two) for name in ("a", "b")]
    addresses = {address.partition("/")[0] for each in found for address in each}
    assert 8 == len(addresses)
    inside = ("ip", "netns", "exec", "a", "ping")
    for host in (one, two):
        for address in (*addresses, *told(one, "status")["addresses"]):
            asks = (*inside, "-nqc1", "-W2", address)
            host.wait_for(address, lambda asks=asks, host=host: not host.call(*asks).returncode)

    far = found[2][0].partition("/")[0]
    with one.popen(*inside, "-nqi0.02", "-c150", far, stdout=subprocess.PIPE) as ping:
        for host in (one, two):
            host.kill_agent()
            host.start_agent()
        assert ", 0% packet loss" in ping.communicate(timeout=60)[0]


def test_a_host_that_sees_only_its_neighbour_joins_works_and_leaves(one, two, three):
    """Also with the neighbour's agent started anew meanwhile."""
    join(two, one)
    for host, other in ((one, three), (three, one)):
        for family, address in (("ip", other.address4), ("ip6", other.address6)):
            host.run("nft", "add", "table", "inet", "cut")
            host.run("nft", "add", "chain inet cut in { type filter hook input priority 0; }")
            host.run("nft", "add", f"rule inet cut in {family} saddr {address} reject")
    assert not three.reaches(one.address4)

    join(three, two, by=token(one))
    made = attach(three, "blue")
    blocks = told(one, "ipam", "show")
    assert {"host3"} == {block["host"] for block in blocks}
    two.kill_agent()
    two.start_agent()
    three.wait_for("its way to the store", lambda: is_created(three, "web"))
    one.wait_for("the network", lambda: "web" in one.seaway("network", "ls"))
    assert made["id"] == told(three, "endpoint", "inspect", "blue")["endpoint"]["id"]
    three.seaway("detach", "blue")
    three.seaway("host", "drain", "host3", timeout=70)  # once host1 has answered
    three.seaway("leave", timeout=60)
    assert ["host1", "host2"] == hosts(one)


def test_what_does_not_fit_is_refused_in_one_line_and_changes_nothing(strangers):
    one, two = strangers
    good, before = token(one), state(two)
    at = str(one.address4)
    wrong_secret = re.sub(r"\.[0-9a-f]{32}\.", f".{'0' * 32}.", good)
    wrong_ca = good[:-64] + "0" * 64
    used, revoked = token(one, "--uses", "1"), token(one)
    one.seaway("token", "revoke", revoked.split(".")[0])
    for words, status, line in (
        (["join", "nothing", at], 2, "that is no join token"),
        (["join", wrong_secret, at], 6, "this join token is wrong, or was revoked"),
        (["join", revoked, at], 6, "this join token is wrong, or was revoked"),
        (["join", wrong_ca, at], 6, f"who answers at {at} is not of the cluster"),
        (["join", good, str(two.address4)], 7, f"{two.address4} cannot be asked"),
        (["join", good, "no-such-name"], 7, "there is no address of 'no-such-name'"),
        (["join", good, at, "--advertise", "::1"], 2, "no other host reaches this one at ::1"),
    ):
        done = two.call(SEAWAY, *words, timeout=60)
        assert (status, 1) == (done.returncode, done.stderr.count("seaway: ")), done.stderr
        assert done.stderr.splitlines()[-1].startswith(f"seaway: {line}")
    assert before == state(two)
    assert ["host1"] == hosts(one)
    join(two, one, by=used)
    two.seaway("leave", timeout=60)
    status, line = refused(two, "join", used, at)
    assert (6, True) == (status, "was used 1 times, as often as it may be" in line), line
    assert {"join token"} == {r["why"] for r in told(one, "status")["refused"]} - {
        "certificate not of a host's record"
    }


def test_an_expired_token_lets_nobody_in(strangers):
    one, two = strangers
    made = told(one, "token", "create", "--ttl", "1s")
    one.wait_for("its end", lambda: time.time() > made["expires"])
    status, line = refused(two, "join", made["token"], str(one.address4))
    assert (6, True) == (status, "this join token expired " in line), line


def test_a_duplicate_name_is_refused(one, two, three):
    join(two, one)
    three.run("hostname", "host2")
    status, line = refused(three, "join", token(one), str(one.address4))
    assert (4, True) == (status, "the cluster has a host 'host2' already (number 2)" in line), line
    assert ["host1", "host2"] == hosts(one)


def test_a_host_of_another_cluster_is_refused(one, two, three):
    two.seaway("init", timeout=60)
    status, line = refused(two, "join", token(one), str(one.address4))
    assert (4, True) == (status, "this host is of another cluster already" in line), line
    join(three, one)
    status, line = refused(three, "join", token(two), str(two.address4))
    assert (4, True) == (status, "this host is of another cluster already" in line), line


def test_a_route_of_the_host_into_the_pool_is_refused(strangers):
    one, two = strangers
    two.run("ip", "route", "add", "10.208.3.0/24", "via", "198.18.0.1")
    status, line = refused(two, "join", token(one), str(one.address4))
    told_ = "the pool 10.208.0.0/12 of the cluster overlaps 10.208.3.0/24, a route of this host"
    assert (4, True) == (status, told_ in line), line
    two.run("ip", "route", "del", "10.208.3.0/24")


@pytest.mark.parametrize("days", [-2, 2])
def test_a_clock_that_is_far_off_is_told_by_how_much(strangers, days):
    """The clock of the machine is everybody's: the command is given another one."""
    shift = f"import time; now = time.time; time.time = lambda: now() + {days * 86400}\n"
    script = "from seaway.cli import main; import sys; sys.argv[0] = 'seaway'; main()"
    one, two = strangers
    before = state(two)
    words = ["join", token(one), str(one.address4)]
    python = str(Path(SEAWAY).with_name("python"))
    done = two.call(python, "-c", shift + script, *words, timeout=60)

    which = "2 d 0 h ahead of" if days > 0 else "1 d 23 h behind"
    assert 4 == done.returncode
    assert f"the clock of this host is {which} that of the host at" in done.stderr
    assert before == state(two)
    assert ["host1"] == hosts(one)


def test_a_join_that_is_killed_anywhere_is_finished_by_the_same_command(one, two):
    good = token(one, "--uses", "1")
    words = ("join", good, str(one.address4))
    for wait in (0.15, 0.3, 0.45, 0.6):
        two.call("timeout", "-s", "KILL", str(wait), SEAWAY, *words)
    two.seaway(*words, timeout=60)
    assert ["host1", "host2"] == hosts(two)
    assert [1] == [report["used"] for report in told(one, "token", "ls")]
    assert [1, 2] == [report["host"]["number"] for report in told(one, "host", "ls")]


def test_a_host_leaves_and_is_as_it_was(one, two):
    before = state(two)
    join(two, one)
    attach(two, "blue")
    status, line = refused(two, "leave")
    assert (4, True) == (status, "containers are attached" in line), line
    two.seaway("detach", "blue")
    two.run("ip", "netns", "del", "blue")
    two.seaway("leave", timeout=60)
    two.run("rm", "/etc/seaway/seaway.toml")

    assert before == state(two)
    assert ["host1"] == hosts(one)
    join(two, one)
    assert 3 == told(two, "host", "ls")[1]["host"]["number"]


@pytest.mark.parametrize("agent", ["alive", "dead"])
def test_uninstall_leaves_a_member_as_it_was(one, two, agent):
    before = state(two)
    join(two, one)
    if agent == "dead":
        two.kill_agent()
        assert "start it: seaway init, or" in two.call(SEAWAY, "status").stderr
        assert f"{names.CACHE_FILE} is whole" in two.call(SEAWAY, "doctor").stdout
    two.seaway("uninstall", "--yes", timeout=60)

    assert before == state(two)
    assert "0" == two.read(Path("/proc/sys/net/ipv4/ip_forward")).strip()
    one.seaway("host", "rm", "host2", timeout=60)
    assert ["host1"] == hosts(one)


def test_a_host_is_removed_while_it_lives_and_what_runs_on_it_goes_on(one, two):
    join(two, one)
    attach(two, "a"), attach(two, "b")
    address = told(two, "endpoint", "inspect", "b")["endpoint"]["addresses"][0].split("/")[0]
    status, line = refused(one, "host", "rm", "host2")
    assert (4, True) == (status, "host 'host2' has 2 endpoints: a, b" in line), line
    one.seaway("host", "rm", "host2", "--force", timeout=60)

    assert ["host1"] == hosts(one)
    assert [] == told(one, "ipam", "show")
    inside = ("ip", "netns", "exec", "a", "ping", "-nqc1", "-w10", address)
    assert 0 == two.call(*inside).returncode
    two.wait_for(
        "its being told",
        lambda: "this cluster has no host 'host2'" in two.read(names.LOG_FILE),
    )
    assert 0 == two.call(*inside).returncode
    two.seaway("leave", "--force", timeout=60)
    assert 3 == refused(one, "host", "rm", "host2")[0]
