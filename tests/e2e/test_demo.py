"""The demo tells its story, and says so where it does not hold.

Without its last chapter, which measures: the bench has tests of its own.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seaway import lab

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"
WITHIN = 280  # seconds, on a slow machine


@contextmanager
def performing(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo; nothing of it is left."""
    command = [sys.executable, folder / "demo.py", "--no-figures"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
    assert [] == [name for name in lab.names() if name.endswith(f"-{process.pid}")]


def performed(folder: Path) -> tuple[int, list[str]]:
    """The exit status and all lines of a demo."""
    with performing(folder) as process:
        output, _ = process.communicate(timeout=WITHIN)
    return process.returncode, output.splitlines()


@pytest.mark.timeout(WITHIN)
def test_the_demo_holds_what_it_tells():
    status, lines = performed(DEMO)

    assert (0, "demo: ok") == (status, lines[-1]), "\n".join(lines)
    (total,) = (line for line in lines if line.endswith(" were tried twice"))
    sent, failed, again = map(int, re.findall(r"\d+", total))
    assert sent > again > 0 == failed, total


def test_a_demo_that_fails_names_the_chapter(tmp_path):
    folder = tmp_path / "examples" / "demo"
    shutil.copytree(DEMO, folder)
    (tmp_path / "build").symlink_to(ROOT / "build")
    (folder / "spoof.py").write_text("")  # a liar who says nothing

    status, lines = performed(folder)

    failed = "demo: failed: a lie is dropped: one of the two was dropped as a lie"
    assert (1, failed) == (status, lines[-1]), "\n".join(lines)


def test_a_demo_that_is_interrupted_takes_down_also_what_it_was_just_making():
    with performing(DEMO) as process:
        while "containerd starts" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=WITHIN)

    failed = "demo: failed: containers start: interrupted"
    assert (1, failed) == (process.returncode, output.splitlines()[-1]), output
