"""scripts/install-packages as root: what is the user's stays, and nothing starts.

Its programs are stand-ins, and /usr/sbin is a copy that is gone with the lab host. What apt would
do to a machine that has docker-ce is asked of apt itself, over such a machine's record and an
archive of our own; it only simulates, and so starts nothing, whatever a policy-rc.d says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install-packages"
POLICY = "/usr/sbin/policy-rc.d"
THEIRS = "#!/bin/sh\n# mine\nexit 0\n"
STAND_INS = {
    "dpkg": "echo amd64",
    "dpkg-query": 'grep -qx "$4" /run/installed && printf installed',
    "apt-get": f'echo "$@" >> /run/called; cat {POLICY} >> /run/policy; exit "$(cat /run/status)"',
    "systemctl": 'echo "systemctl $*" >> /run/called',
}


@pytest.fixture
def install(lab_host):
    """Run the script over a host that has these packages; its exit status, and what it called."""
    host = lab_host
    host.run("sh", "-c", "mkdir -p /run/sbin /run/w && mount -t overlay overlay -o " + OVERLAY)
    host.run("rm", "-f", POLICY, "/usr/sbin/dockerd")
    for name, script in STAND_INS.items():
        host.write(Path("/run/bin", name), f"#!/bin/sh\n{script}\n")
        host.run("chmod", "+x", f"/run/bin/{name}")

    def run(group: str, *installed: str, status: int = 0) -> tuple[int, list[str]]:
        host.write(Path("/run/installed"), "\n".join(installed) + "\n")
        host.write(Path("/run/status"), str(status))
        host.write(Path("/run/called"), "")
        done = host.call("env", "PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin", str(SCRIPT), group)
        return done.returncode, host.read(Path("/run/called")).splitlines()

    return run


OVERLAY = "lowerdir=/usr/sbin,upperdir=/run/sbin,workdir=/run/w /usr/sbin"
BENCH = ("docker.io", "dnsperf", "iperf3", "iptables", "nftables", "unbound", "sockperf")
ASKED = "-qy --no-remove --no-install-recommends install"


def test_no_service_starts_and_the_word_for_it_is_taken_back(lab_host, install):
    assert (0, ["-q update", f"{ASKED} sockperf"]) == install("bench", *BENCH[:-1])
    assert "#!/bin/sh\nexit 101\n" * 2 == lab_host.read(Path("/run/policy"))
    assert 0 != lab_host.call("test", "-e", POLICY).returncode

    assert 1 == install("bench", *BENCH[:-1], status=100)[0]
    assert 0 != lab_host.call("test", "-e", POLICY).returncode


def test_a_policy_that_is_there_is_kept(lab_host, install):
    lab_host.write(Path(POLICY), THEIRS)
    lab_host.run("chmod", "751", POLICY)
    assert 0 == install("bench", *BENCH[:-1])[0]

    assert THEIRS * 2 == lab_host.read(Path("/run/policy"))
    assert THEIRS == lab_host.read(Path(POLICY))
    assert "751" == lab_host.run("stat", "-c", "%a", POLICY).strip()


@pytest.mark.parametrize("engine", ["docker-ce", "moby-engine"])
def test_an_engine_of_somebody_elses_is_neither_replaced_nor_joined(install, engine):
    wanted = f"{ASKED} {' '.join(sorted(BENCH[1:]))}"
    status, called = install("bench", engine)
    assert (0, ["-q update", wanted]) == (status, called[:2])


def test_what_would_take_over_at_the_next_boot_is_kept_from_it(install):
    for group, there, missing, service in (
        ("firewalls", ("dbus", "udev"), "firewalld ufw", "firewalld"),
        ("store", ("etcd-client",), "etcd-server", "etcd"),
        ("bench", [p for p in BENCH if p != "unbound"], "unbound", "unbound"),
    ):
        called = install(group, *there)[1]
        assert [f"{ASKED} {missing}", f"systemctl --quiet disable {service}.service"] == called[1:]
    assert "systemctl" not in " ".join(install("firewalls", "dbus", "firewalld")[1])
    assert "systemctl" not in " ".join(install("store", "etcd-server")[1])


# As Docker's own packages for Debian say, but for what they need of the distribution.
DOCKER_CE = """
Package: docker-ce
Version: 5:24.0.7-1~debian.12~bookworm
Depends: containerd.io (>= 1.6.4), docker-ce-cli
Conflicts: docker (<< 1.5~), docker-engine, docker.io, lxc-docker, lxc-docker-virtual-package
Replaces: docker-engine

Package: docker-ce-cli
Version: 5:24.0.7-1~debian.12~bookworm
Conflicts: docker (<< 1.5~), docker-engine, docker.io, lxc-docker, lxc-docker-virtual-package
Replaces: docker-ce (<< 5:0)

Package: containerd.io
Version: 1.6.26-1
Provides: containerd, runc
Conflicts: containerd, runc
Replaces: containerd, runc
"""
HEAD = "Architecture: {machine}\nMaintainer: nobody <n@example.org>\nDescription: -\n"
APT = """
Dir::State "/run/apt/state";
Dir::State::status "/run/dpkg/status";
Dir::Cache "/run/apt/cache";
Dir::Etc::SourceList "/run/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
APT::Sandbox::User "root";
APT::Get::Simulate "true";
"""
SAYING = """#!/bin/sh
/usr/bin/apt-get "$@" > /run/out 2>&1
status=$?
tee -a /run/said < /run/out
exit $status
"""


@pytest.fixture
def simulate(lab_host):
    """Run a command with apt and dpkg over a machine that has docker-ce and nothing else."""
    machine = lab_host.run("dpkg", "--print-architecture").strip()
    head = HEAD.format(machine=machine)
    stanzas = [stanza.strip() + "\n" for stanza in DOCKER_CE.split("\n\n")]
    status = [f"{stanza}Status: install ok installed\n{head}" for stanza in stanzas]
    offered = [f"Package: {p}\nVersion: 1\nFilename: {p}.deb\nSize: 1\n{head}" for p in archive()]
    files = {
        "/run/dpkg/status": "\n".join(status),
        "/run/repo/Packages": "\n".join(offered),
        "/run/apt/sources.list": "deb [trusted=yes] file:/run/repo ./\n",
        "/run/apt/apt.conf": APT,
        "/run/bin/apt-get": SAYING,
    }
    for path, text in files.items():
        lab_host.write(Path(path), text)
    lab_host.run("chmod", "+x", "/run/bin/apt-get")
    lab_host.run("mkdir", "-p", "/run/dpkg/info", "/run/apt/state/lists/partial")
    env = ("PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DPKG_ADMINDIR=/run/dpkg")

    def run(*command: str) -> tuple[int, str]:
        done = lab_host.call("env", *env, "APT_CONFIG=/run/apt/apt.conf", *command, timeout=60)
        return done.returncode, lab_host.call("cat", "/run/said").stdout + done.stderr

    return run


def archive() -> list[str]:
    """The first of the alternatives of every line: what is asked for where none is there."""
    groups = (SCRIPT.parent / "packages" / group for group in ("lab", "bench"))
    lines = [line for group in groups for line in group.read_text().splitlines()]
    return [line.split("|")[0].strip() for line in lines if line and line[0] != "#"]


def test_apt_itself_would_neither_replace_nor_join_docker_ce(simulate):
    status, said = simulate(str(SCRIPT), "lab", "bench")
    wanted = set(archive()) - {"docker.io", "containerd", "runc"}

    assert 0 == status, said
    assert wanted == {line.split()[1] for line in said.splitlines() if line.startswith("Inst ")}
    assert "Remv " not in said


def test_apt_itself_removes_nothing_where_somebody_asks_for_another_engine(simulate):
    simulate("apt-get", "-q", "update")
    asked = ("apt-get", "-qy", "install", "docker.io")
    assert "Remv docker-ce " in simulate(*asked)[1]
    status, said = simulate(*asked, "--no-remove")
    assert 0 != status
    assert "remove is disabled" in said
