"""A checked service on a real host: who has the port is chosen, and who has it no more is not.

┌────────────── host1 ──────────────┐
│ ┌── a ──┐                         │
│ │ eth0  ┼─veth── BPF    the agent │   asks http://a:8080/ each second
│ └───────┘                         │
└───────────────────────────────────┘
"""

from __future__ import annotations

import subprocess
import sys

from waiting import wait

REFUSED = {"its check fails: connection refused"}


def test_a_backend_gets_connections_while_its_check_passes(one_host):
    how = ("--port", "80:8080", "--selector", "app=web")
    made = (*how, "--check", "http:/,interval=1s,failures=1")
    vips = one_host.told("service", "create", "web", *made)["service"]["addresses"]
    vip = next(address for address in vips if "." in address)
    a, b = one_host.attach("a", "default", "--label", "app=web"), one_host.attach("b")

    def whys() -> set[str]:
        found = one_host.told("service", "inspect", "web")["backends"]
        return {backend["why"] for backend in found}

    assert wait(lambda: whys() == REFUSED)
    assert not b.connects(vip, 80)

    inside = ("nsenter", "--net=/run/netns/a", sys.executable, "-m", "http.server", "8080")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = one_host.host.popen(*inside, "--directory", "/run/netns", **quiet)
    try:
        assert wait(lambda: whys() == {"it is ready"})
        assert b.connects(vip, 80)
        assert b.connects(a.addresses()[0], 8080)
    finally:
        server.kill()
        server.communicate()
    assert wait(lambda: whys() == REFUSED)
    assert not b.connects(vip, 80)
