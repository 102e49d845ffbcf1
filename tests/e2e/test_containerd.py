"""The containers that other tests stand on: they run, and reach each other by a known plugin.

┌───────────── host1 ─────────────┐
│ ┌── a ──┐   bridge    ┌── b ──┐ │
│ │ eth0 ─┼──── cni0 ───┼─ eth0 │ │
│ └───────┘             └───────┘ │
└─────────────────────────────────┘
"""

from __future__ import annotations

import pytest

from seaway.errors import NotFound

BRIDGE = {
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": True,
    "ipam": {"type": "host-local", "subnet": "10.99.0.0/24"},
}


def test_containers_of_busybox_and_python_talk_over_a_reference_plugin(
    containerd, busybox, python_image
):
    containerd.load(python_image)
    containerd.use(BRIDGE)
    containerd.run("a", busybox, "sleep", "600")
    containerd.run("b", python_image, "python3", "-m", "http.server", "80")
    (address,) = containerd.addresses("b")

    url = f"http://{address}/usr/bin/"
    containerd.host.wait_for("an answer", lambda: containerd.succeeds("a", "wget", "-qO-", url))

    assert "python3.11" in containerd.call("a", "wget", "-qO-", url)


def test_a_removed_container_is_gone_and_the_next_one_runs(containerd, busybox):
    containerd.use(BRIDGE)
    containerd.run("a", busybox, "sleep", "600")

    containerd.remove("a")

    with pytest.raises(NotFound, match="'a'"):
        containerd.pid("a")
    containerd.run("b", busybox, "sleep", "600")
    assert 1 == len(containerd.addresses("b"))
