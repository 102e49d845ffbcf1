"""The demo tells its story, and says so where it does not hold.

Without its last chapter, which measures: the bench has tests of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from seaway import lab

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"


def performed(folder: Path) -> tuple[int, list[str]]:
    """The exit status and all lines of a demo; nothing of it is left."""
    command = [sys.executable, folder / "demo.py", "--no-figures"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate(timeout=280)
    assert f"demo-{process.pid}" not in lab.names()
    return process.returncode, output.splitlines()


def test_the_demo_holds_what_it_tells():
    status, lines = performed(DEMO)

    assert (0, "demo: ok") == (status, lines[-1]), "\n".join(lines)


def test_a_demo_that_fails_names_the_chapter(tmp_path):
    folder = tmp_path / "examples" / "demo"
    shutil.copytree(DEMO, folder)
    (tmp_path / "build").symlink_to(ROOT / "build")
    (folder / "spoof.py").write_text("")  # a liar who says nothing

    status, lines = performed(folder)

    failed = "demo: failed: a lie is dropped: one of the two was dropped as a lie"
    assert (1, failed) == (status, lines[-1]), "\n".join(lines)
