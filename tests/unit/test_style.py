"""The rules of scripts/check-words find what they forbid, and leave alone what is right."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

RULES = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "check-words"))["RULES"]
WRONG = {
    "wait for a condition with a deadline": [
        "time.sleep(1)",
        "await asyncio.sleep(0.1)",
        'host.run("sleep", "1")',
        "threading.Event().wait(seconds)",
    ],
    "only a promise about a span of time lets time pass": ["from waiting import span"],
    "fakes, not mocks": ["from unittest.mock import Mock", "def test_it(monkeypatch):"],
    "every task lives in a task group, and those are five": [
        "asyncio.create_task(work())",
        "group.create_task(work())",
        "async with asyncio.TaskGroup() as group:",
    ],
    "an unexpected error is nobody's to swallow": [
        "except:",
        "except Exception:",
        "except (KeyError, Exception) as error:",
        "with suppress(Exception):",
    ],
    "only kernel/ and bpf/ speak with the kernel": [
        "from seaway.kernel.rtnl import Rtnl",
        "from seaway.bpf import abi, syscall",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        'subprocess.run(["nft", "-f", "-"])',
    ],
    "nothing exists for tests": [
        "def put(self, testing: bool = False) -> None:",
        "if self._in_test else 1",
        "for_test = True",
    ],
    "one name says what it is": ["class LinkManager:"],
    "unfinished": ["# TODO: all of it"],
    "settings are filled at load": ["#ifdef IPV6"],
    "packets are parsed in one header": ["void *data = (void *)(long)skb->data;"],
}
RIGHT = [
    "await asyncio.sleep(0)",
    'process = host.popen("sleep", "600")',
    "except BaseException:",
    "except (OSError, HTTPException) as error:",
    "from seaway.kernel.links import LinkTarget",
    "latest = max(times)",
    "_PROG_TEST_RUN = 10",
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.why)
def test_a_rule_finds_what_it_forbids(rule):
    assert [] == [line for line in WRONG[rule.why] if not rule.pattern.search(line)]


@pytest.mark.parametrize("line", RIGHT)
def test_no_rule_finds_what_is_right(line):
    assert [] == [rule.why for rule in RULES if rule.pattern.search(line)]
