"""The pages' commands are typed on a host of their own, page by page, and do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# They make hosts of their own, and have other tests.
ELSEWHERE = ("make ", "seaway bench ", ".venv/bin/pytest ")
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
