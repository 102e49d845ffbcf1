"""scripts/install-packages as root: what is the user's stays, and nothing starts.

Its programs are stand-ins, and /usr/sbin is a copy that is gone with the lab host.
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
BENCH = ("docker.io", "iperf3", "sockperf")
ASKED = "-qy --no-remove --no-install-recommends install"


def test_no_service_starts_and_the_word_for_it_is_taken_back(lab_host, install):
    assert (0, ["-q update", f"{ASKED} sockperf"]) == install("bench", *BENCH[:2])
    assert "#!/bin/sh\nexit 101\n" * 2 == lab_host.read(Path("/run/policy"))
    assert 0 != lab_host.call("test", "-e", POLICY).returncode

    assert 1 == install("bench", *BENCH[:2], status=100)[0]
    assert 0 != lab_host.call("test", "-e", POLICY).returncode


def test_a_policy_that_is_there_is_kept(lab_host, install):
    lab_host.write(Path(POLICY), THEIRS)
    lab_host.run("chmod", "751", POLICY)
    assert 0 == install("bench", *BENCH[:2])[0]

    assert THEIRS * 2 == lab_host.read(Path("/run/policy"))
    assert THEIRS == lab_host.read(Path(POLICY))
    assert "751" == lab_host.run("stat", "-c", "%a", POLICY).strip()


@pytest.mark.parametrize("engine", ["docker-ce", "moby-engine"])
def test_an_engine_of_somebody_elses_is_neither_replaced_nor_joined(install, engine):
    assert (0, ["-q update", f"{ASKED} iperf3 sockperf"]) == install("bench", engine)


def test_a_firewall_or_a_store_is_not_left_to_take_over_at_the_next_boot(install):
    for group, there, missing, service in (
        ("firewalls", ("dbus", "udev"), "firewalld ufw", "firewalld"),
        ("store", ("etcd-client",), "etcd-server", "etcd"),
    ):
        called = install(group, *there)[1]
        assert [f"{ASKED} {missing}", f"systemctl --quiet disable {service}.service"] == called[1:]
    assert "systemctl" not in " ".join(install("firewalls", "dbus", "firewalld")[1])
    assert "systemctl" not in " ".join(install("store", "etcd-server")[1])
