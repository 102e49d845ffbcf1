"""A host's whole state goes into a file, and comes back: on this host, or on another machine.

┌────────── host1 ──────────┐   ┌──────── host2 ────────┐
│ ┌── blue ──┐ ┌── green ──┐│   │  bare, until restored │
│ └────┬─────┘ └────┬──────┘│   └───────────────────────┘
│   seaway backup FILE ─────┼──────► seaway restore FILE
└───────────────────────────┘    no wire is needed
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.flows import Place, assert_unharmed, flowing

from seaway import names
from seaway.lab.hosts import SEAWAY

FILE = "/run/backup"
MACHINE = Path("/etc/machine-id")
NAMES = ("blue", "green")
# Nobody in particular, who may read wherever this was cloned to.
READS = "+dac_read_search"
SOMEBODY = f"--reuid 1234 --regid 1234 --inh-caps {READS} --ambient-caps {READS}".split()
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


@pytest.fixture
def host(lab_host):
    """A host that was set up, with two endpoints and a network of its own."""
    return set_up(lab_host)


@pytest.fixture(scope="module")
def kept(make_module_lab):
    return set_up(make_module_lab(hosts=1).hosts[0])


@pytest.fixture
def steady(kept):
    """One like `host`, for all tests that leave it as it was."""
    kept.run("rm", "-f", FILE)
    return kept


def set_up(host):
    host.seaway("init", timeout=60)
    host.seaway("network", "create", "web", "--open")
    for name in NAMES:
        attach(host, name)
    return host


def attach(host, name):
    host.run("ip", "netns", "add", name)
    return json.loads(host.seaway("attach", name, "--name", name, "-o", "json"))


def told(host, *words, stdin=None):
    """What a command that succeeds says on its way."""
    done = host.call(SEAWAY, *words, timeout=60, stdin=stdin)
    assert 0 == done.returncode, done.stderr
    return done.stderr


def refused(host, *words):
    """The exit status and the one line of a command that must fail, and change nothing."""
    before = state(host)
    done = host.call(SEAWAY, *words, timeout=60)
    assert done.returncode
    assert 1 == done.stderr.count("seaway: ")
    assert before == state(host)
    return done.returncode, done.stderr.splitlines()[-1]


def state(host):
    looks = ("find /var/lib/seaway -type f -size +0 -not -name *-shm", "ls /run/seaway")
    return [host.call(*look.split()).stdout for look in looks], records(host)


def records(host):
    """Of an agent that answers; else nothing."""
    done = host.call(SEAWAY, "backup", "-")
    return json.loads(done.stdout)["records"] if done.returncode == 0 else None


def endpoints(host):
    found = json.loads(host.seaway("endpoint", "ls", "-o", "json"))
    return {e["endpoint"]["name"]: e["endpoint"] for e in found}


def lose(host):
    """The store and the agent are gone, the kernel is as it was."""
    host.kill_agent()
    host.run("sh", "-c", f"rm {names.STORE_FILE}*")


def damage(host):
    """The store's middle is something else. Its agent wrote the log into it when it ended."""
    pid = str(host.agent_pid())
    host.run("kill", "-TERM", pid)
    host.wait_for("the agent's end", lambda: host.call("kill", "-0", pid).returncode != 0)
    size = int(host.run("stat", "-c", "%s", str(names.STORE_FILE)))
    place = (f"of={names.STORE_FILE}", "conv=notrunc", "bs=1", f"seek={size // 2}")
    host.run("dd", "if=/dev/urandom", "count=2000", *place)


def test_a_backup_is_whole_and_for_root_alone(steady):
    line = told(steady, "backup", FILE)

    assert f"{FILE}: " in line
    assert "600 root root" == steady.run("stat", "-c", "%a %U %G", FILE).strip()
    assert {"cluster", "networks/web", f"hosts/{steady.name}"} <= records(steady).keys()
    assert 2 == sum(key.startswith("endpoints/") for key in records(steady))


def test_a_backup_is_never_made_over_a_file_unless_told(steady):
    steady.write(Path(FILE), "precious")

    status, line = refused(steady, "backup", FILE)
    assert (4, True) == (status, "exists already" in line), line
    assert "precious" == steady.read(Path(FILE))

    steady.seaway("backup", FILE, "--overwrite")
    assert records(steady) == json.loads(steady.read(Path(FILE)))["records"]


def test_what_a_restore_takes_away_is_named(host):
    host.seaway("backup", FILE)
    host.seaway("network", "create", "later")
    host.seaway("endpoint", "publish", "blue", "8088-8089:80-81")
    lines = told(host, "restore", FILE, "--replace")

    assert "removed: network 'later' is not in the backup" in lines
    assert "unpublished: 8088-8089:80-81/tcp of endpoint 'default/blue'" in lines
    assert "/tmp: is a directory" in refused(host, "restore", "/tmp", "--replace")[1]


def test_a_disk_that_is_full_leaves_no_part_of_a_backup(steady):
    steady.run("mkdir", "/run/small")
    steady.run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/run/small")
    steady.run("sh", "-c", "echo full > /run/small/full")

    status, line = refused(steady, "backup", "/run/small/backup")

    assert (10, True) == (status, "No space left on device" in line), line
    assert ["full"] == steady.run("ls", "-A", "/run/small").split()
    done = steady.call("sh", "-c", f"{SEAWAY} backup - > /dev/full")
    assert (10, True) == (done.returncode, "No space left on device" in done.stderr), done.stderr


def test_a_dead_agents_state_is_backed_up_all_the_same(host):
    before = records(host)
    host.kill_agent()

    assert before == records(host)


def test_where_nothing_was_set_up_there_is_nothing_to_back_up(lab_host):
    status, line = refused(lab_host, "backup", FILE)

    assert (3, True) == (status, "this host has no cluster yet" in line), line
    assert lab_host.call("test", "-e", FILE).returncode


@pytest.mark.parametrize("loss", [lose, damage], ids=["lost", "damaged"])
def test_a_store_that_is_no_more_comes_back_and_no_connection_breaks(host, loss):
    before = endpoints(host)
    host.seaway("backup", FILE)
    was = records(host)
    with flowing(host, pairs(before)) as flows:
        loss(host)
        told(host, "restore", FILE, *["--replace"] * (loss is damage))
        assert_unharmed(flows)

    assert (before, was) == (endpoints(host), records(host))
    assert True is json.loads(host.seaway("status", "-o", "json"))["ready"]


def pairs(found):
    """From blue to green and back, in both families."""
    blue, green = ([Place(n, a.split("/")[0]) for a in found[n]["addresses"]] for n in NAMES)
    return [(blue[0], green[0]), (green[1], blue[1])]


def test_a_damaged_store_is_refused_kept_and_its_remedy_named(host):
    host.seaway("backup", FILE)
    attach(host, "red")
    damage(host)
    was = host.run("sha256sum", str(names.STORE_FILE)).split()[0]

    for words in (["init"], ["backup", "/run/b2"], ["restore", FILE]):
        status, line = refused(host, *words)
        assert (9, True) == (status, "seaway restore FILE --replace" in line), line
    assert was == host.run("sha256sum", str(names.STORE_FILE)).split()[0]

    lines = told(host, "restore", FILE, "--replace")
    (said,) = [line for line in lines.splitlines() if "kept as" in line]
    assert "detached: the endpoint of interface swy" in lines
    assert was == host.run("sha256sum", said.split()[-1]).split()[0]


def test_a_host_that_has_a_state_keeps_it_without_a_word(steady):
    steady.seaway("backup", FILE)

    status, line = refused(steady, "restore", FILE)

    assert (4, True) == (status, "give --replace" in line), line


def test_a_living_host_goes_back_to_its_backup(host):
    host.seaway("backup", FILE)
    was, before = records(host), endpoints(host)
    host.seaway("network", "rm", "web")
    host.seaway("network", "create", "db")
    attach(host, "red")
    with flowing(host, pairs(before)) as flows:
        lines = told(host, "restore", FILE, "--replace")
        assert_unharmed(flows)

    assert "detached: endpoint 'default/red' of container netns-" in lines
    assert (before, was) == (endpoints(host), records(host))
    assert "eth0" not in host.run("ip", "netns", "exec", "red", "ip", "-br", "link")
    attach(host, "gray")


def test_ports_that_a_backup_does_not_publish_are_reserved_no_more(host):
    reserved = ("sysctl", "-n", "net.ipv4.ip_local_reserved_ports")
    host.run("sysctl", "-q", "-w", f"{reserved[-1]}=5000")
    host.seaway("endpoint", "publish", "blue", "8080:80")
    told(host, "backup", FILE)
    host.seaway("endpoint", "publish", "blue", "9090:90")
    assert "5000,8080,9090\n" == host.run(*reserved)

    told(host, "restore", FILE, "--replace")
    assert "5000,8080\n" == host.run(*reserved)
    told(host, "uninstall", "--yes", "--force")
    assert "5000\n" == host.run(*reserved)


def test_an_endpoint_whose_container_ended_since_is_released(host):
    host.seaway("backup", FILE)
    host.run("ip", "netns", "del", "blue")
    host.wait_for("release", lambda: {"green"} == endpoints(host).keys())

    lines = told(host, "restore", FILE, "--replace")

    assert "released: endpoint 'default/blue'" in lines
    assert {"green"} == endpoints(host).keys()
    assert "[]" == host.seaway("ipam", "check", "-o", "json").strip()


def test_an_endpoint_that_was_detached_since_is_attached_again(host):
    before = endpoints(host)
    host.seaway("backup", FILE)
    host.seaway("detach", "blue")

    told(host, "restore", FILE, "--replace")

    assert before == endpoints(host)
    address = before["blue"]["addresses"][0].split("/")[0]
    assert host.reaches(address)


def test_a_namespace_that_came_anew_under_its_path_is_not_taken_for_the_old_one(host):
    host.seaway("backup", FILE)
    host.run("ip", "netns", "del", "blue")
    host.wait_for("release", lambda: {"green"} == endpoints(host).keys())
    new = attach(host, "blue")

    told(host, "restore", FILE, "--replace")

    assert {"green"} == endpoints(host).keys()
    assert 1 == host.run("ip", "netns", "exec", "blue", "ip", "-br", "link").count("\n"), new


@pytest.mark.parametrize("name", ["host1", "host2"])
def test_another_machine_takes_over_what_is_true_there(make_lab, name):
    one, two = make_lab(hosts=2).hosts
    one.seaway("init", timeout=60)
    attach(one, "blue")
    was = json.loads(one.seaway("backup", "-"))["records"]
    two.write(MACHINE, "0123456789abcdef0123456789abcdef\n")
    two.run("hostname", name)
    two.run("ip", "netns", "add", "blue")
    two.write(IP_FORWARD, "1")

    lines = told(two, "restore", "-", stdin=one.seaway("backup", "-"))
    status = json.loads(two.seaway("status", "-o", "json"))
    now = records(two)

    assert "released: endpoint 'default/blue'" in lines
    assert name == status["host"]
    assert was["cluster"] == now["cluster"]
    assert {"net.ipv4.ip_forward": "1"}.items() <= now[f"before/{name}"]["sysctls"].items()
    blocks = {key: value for key, value in now.items() if key.startswith("blocks/")}
    assert blocks
    assert {name} == {value["host"] for value in blocks.values()}
    assert was[f"hosts/{one.name}"]["addresses"] == now[f"hosts/{name}"]["addresses"]
    address = attach(two, "green")["addresses"][0].split("/")[0]
    assert two.reaches(address)
    two.seaway("uninstall", "--yes", "--force", timeout=60)
    assert "1" == two.read(IP_FORWARD).strip()


def test_a_living_host_takes_over_another_cluster(make_lab):
    one, two = make_lab(hosts=2).hosts
    one.seaway("init", "--subnet", "10.112.0.0/12", timeout=60)
    two.seaway("init", timeout=60)
    attach(two, "blue")
    assert "0" == records(two)[f"before/{two.name}"]["sysctls"]["net.ipv4.ip_forward"]

    lines = told(two, "restore", "-", "--replace", stdin=one.seaway("backup", "-"))

    assert "detached: endpoint 'default/blue'" in lines
    address = attach(two, "green")["addresses"][0].split("/")[0]
    assert address.startswith("10.112.")
    assert two.reaches(address)
    own = json.loads(two.seaway("status", "-o", "json"))["addresses"][0]
    assert 0 == two.call("ip", "netns", "exec", "green", "ping", "-nqc1", "-W2", own).returncode
    two.seaway("uninstall", "--yes", "--force", timeout=60)
    assert "0" == two.read(IP_FORWARD).strip()


def test_a_network_that_this_host_routes_elsewhere_is_not_restored(make_lab):
    one, two = make_lab(hosts=2).hosts
    one.seaway("init", timeout=60)
    subnet = json.loads(one.seaway("backup", "-"))["records"]["networks/default"]["subnets"][0]
    two.write(Path(FILE), one.seaway("backup", "-"))
    two.run("ip", "route", "add", subnet, "via", str(one.address4))

    status, line = refused(two, "restore", FILE)

    assert (4, True) == (status, "a route of this host" in line), line


def cut(text):
    return text[: len(text) // 2]


def changed(text):
    return text.replace('"mtu":1500', '"mtu":1400', 1)


def newer(text):
    return text.replace('"format":2', '"format":3', 1)


def other(text):
    return json.dumps(json.loads(text), indent=2)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (cut, 2, "the backup is cut"),
        (changed, 2, "the backup is damaged"),
        (newer, 2, "the backup has format 3, this version reads up to 2"),
        (other, 2, "this is no backup of Seaway's"),
        (lambda _: "", 2, "this is no backup of Seaway's"),
    ],
    ids=["cut", "changed", "newer", "other", "empty"],
)
def test_a_bad_file_changes_nothing(steady, change, status, words):
    steady.write(Path(FILE), change(steady.seaway("backup", "-")))

    found, line = refused(steady, "restore", FILE, "--replace")

    assert (status, True) == (found, line.startswith(f"seaway: {FILE}: {words}")), line


def test_a_file_that_is_not_there_changes_nothing(steady):
    for path in ("/run/nothing", "/dev/zero"):
        status, line = refused(steady, "restore", path, "--replace")
        assert (2, True) == (status, "there is no such file" in line), line


def test_others_may_neither_back_up_nor_restore(steady):
    steady.seaway("backup", FILE)
    for words in (["backup", "-"], ["restore", FILE, "--replace"]):
        done = steady.call("setpriv", *SOMEBODY, "--clear-groups", SEAWAY, *words)
        assert (6, True) == (done.returncode, "use root" in done.stderr), done.stderr


def test_a_disk_that_is_full_leaves_the_old_state_and_its_agent(lab_host):
    lab_host.run("mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(names.STATE_FOLDER))
    lab_host.seaway("init", timeout=60)
    lab_host.seaway("network", "create", "web")
    lab_host.run("ip", "netns", "add", "blue")
    labels = (f"--label=k{n}={'x' * 1000}" for n in range(100))  # more than stopping sets free
    lab_host.seaway("attach", "blue", *labels)
    lab_host.seaway("backup", FILE)
    lab_host.seaway("network", "rm", "web")
    lab_host.call("dd", "if=/dev/zero", f"of={names.STATE_FOLDER}/filler", "bs=4k")
    was = records(lab_host)

    done = lab_host.call(SEAWAY, "restore", FILE, "--replace", timeout=60)

    assert (10, True) == (done.returncode, "is the disk full" in done.stderr), done.stderr
    lab_host.wait_for("the old agent", lab_host.agent_is_ready, within=30)
    assert was == records(lab_host)
    assert "networks/web" not in was
    lab_host.run("rm", f"{names.STATE_FOLDER}/filler")
    told(lab_host, "restore", FILE, "--replace")
    assert "networks/web" in records(lab_host)


def test_killed_after_any_of_its_words_a_restore_leaves_one_state_whole(host):
    host.seaway("backup", FILE)
    new, living = records(host), endpoints(host)
    host.seaway("network", "rm", "web")
    host.seaway("network", "create", "db")
    old = records(host)
    host.seaway("backup", "/run/old")

    for line in range(1, 6):
        told(host, "restore", "/run/old", "--replace")
        with host.popen(SEAWAY, "restore", FILE, "--replace", stderr=subprocess.PIPE) as command:
            for _ in range(line):
                command.stderr.readline()
            command.kill()
        host.seaway("init", timeout=60)
        assert records(host) in (old, new)
        assert living == endpoints(host)
    assert new == records(host)
