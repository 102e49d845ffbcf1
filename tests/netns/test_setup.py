"""A host is set up by one command, and by one command it is as it was before.

┌──────────── host1 ────────────┐
│ seaway init · seaway uninstall │   no wire is needed
└───────────────────────────────┘
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from left import left
from seaway import names
from seaway.daemons import AGENT, DNS, SYSTEMD, UNITS
from seaway.lab.hosts import SEAWAY
from seaway.setup import files
from seaway.trust import tokens

# Nobody in particular, who may read wherever this was cloned to, /root for example.
READS = "+dac_read_search"
SOMEBODY = f"--reuid 1234 --regid 1234 --inh-caps {READS} --ambient-caps {READS}".split()
LOOKS = (
    "ip -br link",
    "ip -br addr",
    "ip route show table all",
    "ip -6 route show table all",
    "ip rule",
    "nft list ruleset",
    "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
    "find /etc/seaway /etc/cni /opt/cni /var/lib/seaway /var/log/seaway /run/seaway",
    "find /sys/fs/bpf /etc/systemd/system/seaway.service",
)


def state(host):
    return left(host, LOOKS)


def refused(host, *words):
    """The exit status and the one line of a command that must fail."""
    done = host.call(SEAWAY, *words, timeout=60)
    assert done.returncode
    assert 1 == done.stderr.count("seaway: ")
    return done.returncode, done.stderr.splitlines()[-1]


def attach(host, name):
    host.run("ip", "netns", "add", name)
    return json.loads(host.seaway("attach", name, "--name", name, "-o", "json"))


@pytest.fixture
def host(lab_host):
    """A host that was set up."""
    lab_host.seaway("init", timeout=60)
    return lab_host


@pytest.fixture(scope="module")
def steady(make_module_lab):
    """One for all tests that look at it, and leave its agent alone."""
    made = make_module_lab(hosts=1).hosts[0]
    made.seaway("init", timeout=60)
    return made


def test_after_init_the_agent_serves_and_runtimes_find_a_network(lab_host):
    told = lab_host.call(SEAWAY, "init", timeout=60)
    assert 0 == told.returncode, told.stderr
    status = json.loads(lab_host.seaway("status", "-o", "json"))
    conflist = json.loads(lab_host.read(files.CONFLIST))

    assert "the agent is ready" in told.stderr
    assert "seaway attach" in told.stdout
    assert True is status["ready"]
    assert "seaway" == conflist["plugins"][0]["type"]
    assert (
        "default"
        == json.loads(lab_host.seaway("network", "ls", "-o", "json"))[0]["network"]["name"]
    )


def test_a_host_within_the_first_pool_keeps_its_network_and_its_router(lab_host):
    lab_host.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    lab_host.run("ip", "link", "set", "up1", "up")
    lab_host.run("ip", "link", "set", "up0", "up")
    lab_host.run("ip", "addr", "add", "10.208.0.11/8", "dev", "up0")
    lab_host.run("ip", "route", "replace", "203.0.113.0/24", "via", "10.208.0.1")

    wanted = refused(lab_host, "init", "--subnet", "10.208.0.0/12")
    lab_host.seaway("init", timeout=60)
    subnet = refused(lab_host, "network", "create", "a", "--subnet", "10.208.0.0/25")
    way = [lab_host.run("ip", "route", "get", to) for to in ("10.208.0.1", "10.208.9.9")]
    made = lab_host.call(SEAWAY, "network", "create", "b", "--subnet", "8.8.8.0/24")

    assert (4, 4) == (wanted[0], subnet[0])
    assert "10.208.0.0/12 overlaps 10.0.0.0/8, a network that this host is in" in wanted[1]
    assert "10.208.0.0/25 overlaps 10.0.0.0/8, a network that this host is in" in subnet[1]
    assert "172.24.0.0" in lab_host.seaway("network", "ls")
    assert all(" dev up0 " in told for told in way)
    assert "warning: subnet 8.8.8.0/24 is of public addresses" in made.stderr
    assert "network b: 8.8.8.0/24" in made.stdout


def test_init_twice_changes_nothing_and_says_so(steady):
    before, pid = state(steady), steady.agent_pid()

    told = steady.call(SEAWAY, "init", timeout=60).stderr

    assert "this host is set up already" in told
    assert "the agent is running already" in told
    assert (before, pid) == (state(steady), steady.agent_pid())


def test_init_starts_a_dead_agent_again_with_all_that_it_knew(host):
    attached = attach(host, "blue")
    host.kill_agent()

    host.seaway("init", timeout=60)

    assert (
        attached == json.loads(host.seaway("endpoint", "inspect", "blue", "-o", "json"))["endpoint"]
    )


def test_init_keeps_the_networks_of_other_cni_programs(lab_host):
    other = names.CNI_CONF / "05-bridge.conflist"
    lab_host.write(other, '{"name": "x", "plugins": [{"type": "bridge"}]}')

    told = lab_host.call(SEAWAY, "init", timeout=60).stderr
    assert "take 05-bridge.conflist" in told
    lab_host.seaway("uninstall", "--yes")

    assert '{"name": "x", "plugins": [{"type": "bridge"}]}' == lab_host.read(other)


def test_without_cni_no_runtime_is_told(lab_host):
    lab_host.seaway("init", "--no-cni", timeout=60)

    assert 0 != lab_host.call("test", "-e", str(files.PLUGIN)).returncode
    assert 0 != lab_host.call("test", "-e", str(files.CONFLIST)).returncode


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["--subnet", "10.0.0.0/30"], 2, "pool 10.0.0.0/30 is too small"),
        (["--subnet", "10.0.0.1/16"], 2, "'10.0.0.1/16' is no subnet: "),
        (["--subnet", "10.0.0.0/16,10.0.0.0/16"], 4, "pool 10.0.0.0/16 overlaps"),
    ],
)
def test_a_bad_wish_changes_nothing(lab_host, words, status, complaint):
    before = state(lab_host)

    found, line = refused(lab_host, "init", *words)

    assert (status, True) == (found, line.startswith(f"seaway: {complaint}")), line
    assert before == state(lab_host)


def test_a_bad_configuration_stops_init_before_anything_is_written(lab_host):
    lab_host.write(names.CONFIG_FILE, "[agent]\natach = 1\n")
    before = state(lab_host)

    status, line = refused(lab_host, "init")

    assert 2 == status
    assert line.startswith(f"seaway: {names.CONFIG_FILE}: unknown key 'atach' in section [agent]")
    assert before == state(lab_host)


def test_another_pool_for_a_host_that_is_set_up_is_refused(steady):
    status, line = refused(steady, "init", "--subnet", "10.77.0.0/16")

    assert 4 == status
    assert "run 'seaway uninstall' first" in line


@pytest.mark.parametrize("version", ["this", "an earlier one, which had no member.json"])
def test_a_host_with_a_cluster_of_its_own_is_led_into_another_one(host, version):
    """By what each refusal advises."""
    if version != "this":
        host.run("rm", str(names.MEMBER_FILE))
    join = ("join", str(tokens.make("0" * 64)), "127.0.0.1")
    status, line = refused(host, *join)
    assert (4, True) == (status, "of another cluster already" in line), line
    assert "seaway uninstall" in line
    for agent in ("alive", "dead"):
        if agent == "dead":
            host.kill_agent()
        for words in (["leave"], ["leave", "--force"]):
            status, line = refused(host, *words)
            assert (4, True) == (status, "the only one of its cluster" in line), line
            assert "seaway uninstall" in line
    host.seaway("uninstall", "--yes", timeout=60)
    _, line = refused(host, *join)
    assert "127.0.0.1 cannot be asked" in line


def test_other_users_may_neither_set_up_nor_remove(lab_host):
    before = state(lab_host)
    for words in (["init"], ["uninstall", "--yes"], ["agent"]):
        done = lab_host.call("setpriv", *SOMEBODY, "--clear-groups", SEAWAY, *words)

        assert (6, True) == (done.returncode, "use root" in done.stderr), done.stderr
    assert before == state(lab_host)


def test_an_agent_that_cannot_start_says_why_in_its_log(lab_host):
    lab_host.write(names.STORE_FILE, "this is no database, " * 1000)

    status, line = refused(lab_host, "init")

    assert 9 == status, line
    assert "is damaged" in line
    assert "this is no database" in lab_host.read(names.STORE_FILE)


@pytest.mark.parametrize("agent", ["alive", "dead"])
def test_uninstall_leaves_the_host_as_it_was(lab_host, agent):
    before = state(lab_host)
    lab_host.seaway("init", timeout=60)
    attach(lab_host, "blue")
    lab_host.seaway("network", "create", "web", "--open")
    lab_host.seaway("detach", "blue")
    lab_host.run("ip", "netns", "del", "blue")
    if agent == "dead":
        lab_host.kill_agent()

    lab_host.seaway("uninstall", "--yes", timeout=60)

    assert before == state(lab_host)
    assert "" == lab_host.call("pgrep", "-f", "seaway agent").stdout


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0",
            "the bridge docker0",
        ),
        ("iptables-legacy -N DOCKER-USER", "the chain DOCKER-USER"),
        ("nft add table ip nat; nft add chain ip nat LIBVIRT_PRT", "the chain LIBVIRT_PRT"),
    ],
)
def test_uninstall_leaves_forwarding_to_who_else_lives_by_it(lab_host, before, words):
    settings = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    lab_host.run("sysctl", "-qw", *(f"{setting}=0" for setting in settings))
    lab_host.seaway("init", timeout=60)
    lab_host.run("sh", "-ec", before)
    told = lab_host.call(SEAWAY, "uninstall", "--yes", timeout=60)

    assert 0 == told.returncode, told.stderr
    assert "1\n0\n" == lab_host.run("sysctl", "-n", *settings)
    (line,) = [line for line in told.stderr.splitlines() if line.startswith("left on: ")]
    assert f"left on: net.ipv4.ip_forward, off before Seaway; others live by it: {words}" in line


def test_uninstall_leaves_forwarding_off_where_the_bridge_is_the_hosts_way_out(lab_host):
    lab_host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    lab_host.seaway("init", timeout=60)
    lab_host.run("ip", "link", "add", "br0", "type", "bridge")
    lab_host.run("ip", "link", "set", "br0", "up")
    lab_host.run("ip", "addr", "add", "192.0.2.7/24", "dev", "br0")
    lab_host.run("ip", "route", "replace", "default", "via", "192.0.2.1")
    lab_host.seaway("uninstall", "--yes", timeout=60)

    assert "0" == lab_host.run("sysctl", "-n", "net.ipv4.ip_forward").strip()


def test_uninstall_takes_our_filters_off_the_devices_of_the_host(lab_host):
    def filters() -> str:
        return lab_host.run("tc", "filter", "show", "dev", "eth0", "ingress")

    lab_host.write(names.CONFIG_FILE, '[agent]\nattach = "cls_bpf"\n')
    lab_host.seaway("init", timeout=60)
    assert "from_wire" in filters()
    lab_host.seaway("uninstall", "--yes", timeout=60)

    assert "" == filters()
    assert "" == lab_host.run("tc", "qdisc", "show", "dev", "eth0", "clsact")


def test_a_device_that_comes_later_goes_on_hearing_routers_and_uninstall_puts_it_back(host):
    """A host that forwards is told so by accept_ra=2; where it is 0, somebody wants none."""

    def told():
        return [host.read(f"/proc/sys/net/ipv6/conf/{d}/accept_ra").strip() for d in ("up0", "up1")]

    host.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    for n, value in enumerate((1, 0)):
        host.run("ip", "link", "set", f"up{n}", "up")
        host.run("sysctl", "-qw", f"net.ipv6.conf.up{n}.accept_ra={value}")
        host.run(*f"ip -6 route add default dev up{n} proto ra metric {n + 5}".split())

    host.wait_for("the device to be told", lambda: ["2", "0"] == told())
    host.seaway("uninstall", "--yes", timeout=60)

    assert ["1", "0"] == told()


@pytest.mark.parametrize("agent", ["alive", "dead"])
def test_uninstall_cuts_off_no_container_unless_forced(lab_host, agent):
    lab_host.run("ip", "netns", "add", "blue")
    before = state(lab_host)
    lab_host.seaway("init", timeout=60)
    lab_host.seaway("attach", "blue")
    if agent == "dead":
        lab_host.kill_agent()
    there = state(lab_host)

    status, line = refused(lab_host, "uninstall", "--yes")
    assert (4, True) == (status, "attached to Seaway on this host: 1" in line), line
    assert there == state(lab_host)

    lab_host.seaway("uninstall", "--yes", "--force", timeout=60)
    assert before == state(lab_host)


def test_uninstall_leaves_what_others_made_that_looks_like_ours(host):
    host.run("ip", "link", "add", "swystranger", "type", "veth")
    host.run("ip", "route", "add", "198.51.100.0/24", "dev", "lo")
    host.run("nft", "add", "table", "inet", "seaway2")

    host.seaway("uninstall", "--yes", timeout=60)

    assert "swystranger" in host.run("ip", "-br", "link")
    assert "198.51.100.0/24" in host.run("ip", "route")
    assert "table inet seaway2" in host.run("nft", "list", "ruleset")


def test_uninstall_of_nothing_is_fine(lab_host):
    before = state(lab_host)

    assert "nothing of Seaway is left" in lab_host.seaway("uninstall", "--yes")
    assert before == state(lab_host)


def test_doctor_needs_no_agent(lab_host):
    done = lab_host.call(SEAWAY, "doctor", "-o", "json")
    levels = {finding["check"]: finding["level"] for finding in json.loads(done.stdout)}

    assert 8 == done.returncode
    assert ("error", "ok") == (levels["agent"], levels["btf"])


def test_doctor_is_content_with_a_host_that_was_set_up(steady):
    done = steady.call(SEAWAY, "doctor", "-o", "json")
    errors = [f for f in json.loads(done.stdout) if f["level"] == "error"]

    assert (0, []) == (done.returncode, errors)


def told(host, check):
    """What doctor finds there that is not as it should be."""
    done = host.call(SEAWAY, "doctor", "-o", "json")
    return [
        f["found"] for f in json.loads(done.stdout) if (f["check"], f["level"] != "ok") == check
    ]


def test_doctor_names_a_damaged_store_a_full_disk_and_a_configuration_that_nobody_can_read(host):
    host.kill_agent()
    host.run("sh", "-c", f"echo broken > {names.STORE_FILE}")
    host.write(names.CNI_CONF / "00-bad.conflist", '{"name": "x", "plugins": [{}]}')

    assert [f"the store {names.STORE_FILE} is damaged: it is no database"] == told(
        host, ("store", True)
    )
    assert any("expected a type in each plugin" in found for found in told(host, ("cni", True)))
    assert [] == told(host, ("disk", True))
    host.run("mount", "-t", "tmpfs", "-o", "size=1m", "small", str(names.STATE_FOLDER))
    assert ["nothing new can be recorded"] == [
        found.split(": ")[1] for found in told(host, ("disk", True))
    ]


def test_a_host_that_is_not_set_up_or_whose_store_is_damaged_hears_what_to_do(lab_host):
    lab_host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    found = json.loads(lab_host.call(SEAWAY, "doctor", "-o", "json").stdout)
    advice = {f["advice"] for f in found if f["check"] == "forwarding"}
    assert "seaway init turns it on" in advice
    assert "this host is not set up: seaway init" in refused(lab_host, "status")[1]

    lab_host.seaway("init", timeout=60)
    lab_host.kill_agent()
    assert "start it: seaway init, or systemctl start seaway" in refused(lab_host, "status")[1]
    lab_host.run("sh", "-c", f"echo broken > {names.STORE_FILE}")
    status, line = refused(lab_host, "status")
    found = json.loads(lab_host.call(SEAWAY, "doctor", "-o", "json").stdout)
    (agent,) = [f for f in found if f["check"] == "agent"]

    assert 7 == status
    assert f"the store {names.STORE_FILE} is damaged" in line
    assert "seaway restore FILE --replace" in line
    assert "seaway restore FILE --replace" in agent["advice"]


def test_init_keeps_a_configuration_of_somebodys_that_has_the_name_of_ours(lab_host):
    lab_host.write(files.CONFLIST, "{ broken")
    told = lab_host.call(SEAWAY, "init", timeout=60)
    kept = f"{files.CONFLIST}.1"

    assert f"warning: {files.CONFLIST} was none of ours, and is kept as {kept}" in told.stderr
    assert "{ broken" == lab_host.read(Path(kept))
    assert "seaway" == json.loads(lab_host.read(files.CONFLIST))["plugins"][0]["type"]


def test_doctor_warns_of_a_route_of_the_hosts_that_a_subnet_is_a_part_of(host):
    host.run("ip", "route", "add", "10.77.0.0/16", "via", "198.18.0.1")
    host.seaway("network", "create", "web", "--subnet", "10.77.1.0/24")

    assert ["10.77.1.0/24 of network 'web' is a part of the host's route to 10.77.0.0/16"] == told(
        host, ("routes", True)
    )


def test_members_of_the_group_look_and_change_nothing(lab_host):
    lab_host.run("sh", "-c", "grep -q ^seaway: /etc/group || echo seaway:x:4242: >> /etc/group")
    lab_host.seaway("init", timeout=60)

    def as_user(groups, *words):
        return lab_host.call("setpriv", *SOMEBODY, "--groups", groups, SEAWAY, *words)

    assert 0 == as_user("4242", "endpoint", "ls").returncode
    assert 6 == as_user("4242", "network", "create", "web").returncode
    assert 6 == as_user("4243", "endpoint", "ls").returncode
    attach(lab_host, "blue")
    lab_host.seaway("endpoint", "publish", "blue", "8080:80")
    done = as_user("4242", "doctor", "-o", "json")
    found = json.loads(done.stdout)
    assert 0 == done.returncode, found
    assert [] == [f for f in found if f["level"] in ("warning", "error")]
    assert {"capabilities", "firewall"} <= {f["check"] for f in found if f["level"] == "off"}
    assert "660 root seaway" == lab_host.run("stat", "-c", "%a %U %G", str(names.SOCKET)).strip()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("lab", "up"), "this user may not make, enter or end a lab (use root"),
        (("lab", "exec", "host1", "true"), "this user may not make, enter or end a lab"),
        (("bench", "programs", "--quick"), "this user may not make the hosts of a benchmark"),
        (("support", "/root/s.tar.gz"), "this user may not write /root/s.tar.gz"),
    ],
)
def test_what_somebody_may_not_do_is_told_in_one_line_before_anything_else(lab_host, words, told):
    done = lab_host.call("setpriv", *SOMEBODY, "--clear-groups", SEAWAY, *words)

    assert (6, "") == (done.returncode, done.stdout)
    assert 1 == len(done.stderr.splitlines())
    assert told in done.stderr


def test_a_bundle_of_somebodys_says_that_it_is_incomplete(steady):
    file = "/tmp/s.tar.gz"
    steady.run("rm", "-f", file)
    done = steady.call("setpriv", *SOMEBODY, "--clear-groups", SEAWAY, "support", file)
    steady.run("rm", "-f", file)

    assert 0 == done.returncode, done.stderr
    assert "incomplete: only root can read all" in done.stderr


def test_the_settings_of_a_host_have_their_effect(lab_host):
    settings = '[agent]\nlog_level = "warning"\nattach = "cls_bpf"\n[network]\nmtu = 1400\n'
    lab_host.write(names.CONFIG_FILE, settings)
    lab_host.seaway("init", timeout=60)
    lab_host.seaway("network", "create", "web")
    attach(lab_host, "blue")

    networks = json.loads(lab_host.seaway("network", "ls", "-o", "json"))
    assert [1400, 1400] == [report["network"]["mtu"] for report in networks]
    assert "cls_bpf" == json.loads(lab_host.seaway("status", "-o", "json"))["attach"]
    assert "level=info" not in lab_host.read(names.LOG_FILE)
    assert settings == lab_host.read(names.CONFIG_FILE)


def test_the_log_is_one_line_of_fields_for_each_event(steady):
    attach(steady, "blue")

    for line in steady.read(names.LOG_FILE).splitlines():
        assert line.startswith("timestamp=20"), line
        assert " level=" in line
        assert " event=" in line


def test_a_bundle_for_a_bug_report_tells_of_the_whole_host(steady):
    attach(steady, "green")
    steady.seaway("support", "/run/s.tar.gz")
    files_ = steady.run("tar", "-tzf", "/run/s.tar.gz").split()
    status = steady.run("tar", "-xzOf", "/run/s.tar.gz", "seaway-support/status.json")

    assert "seaway-support/agent.log" in files_
    assert True is json.loads(status)["ready"]


SYSTEMCTL = f"""#!/bin/sh
# Does what systemd would: runs the command of the unit, in a group of its own, and again where it
# failed; ends it; writes down what it was told.
echo "$@" >> /run/told
for unit in "$@"; do :; done
case "$unit" in
{DNS.unit}) pid={names.RESOLVER_PID_FILE} ;;
*) pid={names.PID_FILE} ;;
esac
case "$*" in
*restart*)
	group=/run/$unit.group
	if [ -f $group ]; then
		kill -- "-$(cat $group)" && while kill -0 -- "-$(cat $group)"; do sleep 0.05; done
	fi
	command=$(sed -n 's/^ExecStart=//p' "{UNITS}/$unit")
	setsid --fork sh -c 'echo $$ > $0; until "$@"; do sleep 0.1; done' $group $command \
		>> /run/journal 2>&1 < /dev/null ;;
*disable*) kill "$(cat $pid)" ;;
esac
"""


def with_systemd(host):
    """How `seaway` is called from now on."""
    host.run("mkdir", "-p", str(SYSTEMD), "/run/bin")
    host.write(Path("/run/bin/systemctl"), SYSTEMCTL)
    host.run("chmod", "+x", "/run/bin/systemctl")
    path = "PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return lambda *words: host.run("env", path, SEAWAY, *words, timeout=60)


def told_systemd(host):
    lines = host.read(Path("/run/told")).splitlines()
    return [line.removeprefix("--quiet ") for line in lines]


def test_where_systemd_runs_the_agent_is_its_service(lab_host):
    before = state(lab_host)
    seaway = with_systemd(lab_host)
    seaway("init")
    unit = lab_host.read(AGENT.unit_file)
    assert f"ExecStart={SEAWAY} agent" in unit.splitlines()
    assert "event=ready" in lab_host.read(Path("/run/journal"))
    journal = Path("/run/journal")
    lab_host.wait_for("the resolver", lambda: "event=listens" in lab_host.read(journal))

    seaway("uninstall", "--yes")
    assert before == state(lab_host)
    assert [
        "daemon-reload",
        "enable seaway.service",
        "restart seaway.service",
        "daemon-reload",
        "restart seaway-dns.service",
        "disable --now seaway.service",
        "disable --now seaway-dns.service",
        "daemon-reload",
        "daemon-reload",
    ] == told_systemd(lab_host)


@pytest.mark.parametrize("had", ["a unit", "no systemd"])
def test_where_systemd_runs_an_outdated_resolver_gives_way_to_the_unit(lab_host, had):
    """Be it the unit's own, or one that was begun before: the unit waits for that one's end."""

    def resolver():
        return int(lab_host.call("cat", str(names.RESOLVER_PID_FILE)).stdout or 0)

    if had == "no systemd":
        lab_host.seaway("init", timeout=60)
        lab_host.wait_for("the resolver", resolver)
        lab_host.kill_agent()
    seaway = with_systemd(lab_host)
    seaway("init")
    lab_host.wait_for("the resolver", resolver)
    before = resolver()
    restarts = told_systemd(lab_host).count(f"restart {DNS.unit}")
    assert (had == "a unit") == restarts
    lab_host.write(names.RESOLVER_PID_FILE.with_suffix(".build"), f"{before} 0.0.1\n")

    lab_host.wait_for("another one", lambda: resolver() not in (0, before))
    assert restarts + 1 == told_systemd(lab_host).count(f"restart {DNS.unit}")
    assert lab_host.call("kill", "-0", str(before)).returncode
    group = lab_host.read(Path(f"/run/{DNS.unit}.group")).strip()
    assert group == lab_host.run("ps", "-o", "pgid=", "-p", str(resolver())).strip()
    seaway("uninstall", "--yes")


def test_without_a_capability_nothing_is_begun(lab_host):
    before = state(lab_host)
    done = lab_host.call("setpriv", "--bounding-set", "-sys_admin", SEAWAY, "init", timeout=60)

    assert (6, "seaway: CAP_SYS_ADMIN missing (run as root, not in a container)\n") == (
        done.returncode,
        done.stderr,
    )
    assert before == state(lab_host)


def test_a_store_of_a_newer_version_is_refused_and_kept(host):
    host.kill_agent()
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version=99')"
    host.run(sys.executable, "-c", script, str(names.STORE_FILE))
    before = host.run("sha256sum", str(names.STORE_FILE))

    status, line = refused(host, "init")

    assert 9 == status
    assert "was written by a newer Seaway (store version 99" in line
    assert before == host.run("sha256sum", str(names.STORE_FILE))


def test_a_full_disk_is_told_and_changes_nothing(lab_host):
    lab_host.run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(names.STATE_FOLDER))
    lab_host.seaway("init", timeout=60)
    lab_host.call("dd", "if=/dev/zero", f"of={names.STATE_FOLDER}/filler", "bs=4k")
    before = state(lab_host)

    # What is written already may take a few more records: pages of the log are used again.
    answers = [lab_host.call(SEAWAY, "network", "create", f"n{n}") for n in range(8)]
    failed = [done for done in answers if done.returncode]

    assert failed
    assert {10} == {done.returncode for done in failed}
    assert "is the disk full, or the folder read-only? nothing was changed" in failed[0].stderr
    for done, n in zip(answers, range(8), strict=True):
        assert done.returncode or lab_host.seaway("network", "rm", f"n{n}")
    assert before == state(lab_host)
