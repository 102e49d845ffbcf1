"""The pages' commands are typed on a host of their own, page by page, and do what they say."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# They make hosts of their own, and have other tests.
ELSEWHERE = ("make ", "seaway bench ", ".venv/bin/pytest ")
SHOP = ("service", "inspect", "shop")
REFUSED = {
    "seaway ipam release 10.208.0.7": "nobody holds 10.208.0.7",
    "seaway trace world 192.0.2.1:30080": "neither 'world' nor '192.0.2.1' is of this cluster",
    "seaway route ls --to host3 --routing hops": "there is no other host 'host3'",
}


def typed(page):
    """The lines of a page's shell blocks, without the files of ours that they would write."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if not line.startswith(ELSEWHERE):
                yield line.partition(" >")[0]


@pytest.mark.parametrize("page", [p for p in PAGES if [*typed(p)]], ids=lambda p: p.name)
def test_what_a_page_says_can_be_typed(lab_host, page):
    if "seaway init" not in typed(page):
        lab_host.start_agent()
    for line in typed(page):
        done = lab_host.call("sh", "-c", f"cd /run && {line}", timeout=60)

        refusal = REFUSED.get(line, "")
        assert bool(refusal) == bool(done.returncode), (line, done.stderr)
        assert refusal in done.stderr, line


def test_the_first_page_replaces_a_backend_and_goes_on(lab_host):
    """Its block of a service, with servers, after the first one."""
    text = (ROOT / "README.md").read_text()
    first, *others = re.findall(
        r"^```(?:sh)?\n(seaway .*?|ip .*?)^```", text, re.MULTILINE | re.DOTALL
    )
    (story,) = [block for block in others if "seaway service drain" in block]
    text = (first + story).replace("ADDRESS-OF-THE-HOST", str(lab_host.address4))
    with ExitStack() as servers:
        for line in text.splitlines():
            words = line.split()
            if words[-1] == "&":
                servers.callback(ended, lab_host.popen(*words[:-1], stderr=DEVNULL))
            elif words[0] == "curl":
                lab_host.wait_for("it", lambda words=words: not lab_host.call(*words).returncode)
            elif line.startswith("seaway service drain"):
                lab_host.wait_for("its check", lambda: "2 of 2" in lab_host.seaway(*SHOP))
                lab_host.seaway(*words[1:])
            else:
                lab_host.run("sh", "-c", f"cd /run && {line}", timeout=60)
        assert "1 of 1" in lab_host.seaway(*SHOP)


def ended(server):
    server.terminate()
    server.communicate()


def test_what_the_first_page_says_leaves_a_host_as_it_was(lab_host):
    looks = (
        "ip -br link",
        "ip route show table all",
        "nft list ruleset",
        "find /sys/fs/bpf /opt/cni",
    )
    before = [lab_host.run(*look.split()) for look in looks]
    for line in typed(ROOT / "README.md"):
        lab_host.run("sh", "-c", f"cd /run && {line}", timeout=60)
    lab_host.run("ip", "netns", "del", "blue")

    assert before == [lab_host.run(*look.split()) for look in looks]
