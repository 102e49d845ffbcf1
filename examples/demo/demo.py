"""`make demo`: tells the story of chapters.py on a virtual host, and leaves nothing behind."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chapters import CHAPTERS, Chapter, figures
from story import HERE, Failed, Story, tell

from seaway import lab
from seaway.errors import SeawayError
from seaway.lab import images
from seaway.lab.containerd import Containerd

IMAGES = HERE.parents[1] / "build" / "images"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stage() -> Iterator[Story]:
    """A virtual host with its agent and its container engine, and another; gone in the end."""
    tell("making a virtual host, its agent and its container engine, and a host outside ...")
    image = images.python(IMAGES)
    with lab.passing("demo", hosts=2) as made:
        try:
            host, outside = made.hosts
            host.start_agent()
            engine = Containerd(host)
            engine.start()
            engine.load(image)
            yield Story(host, outside, engine, image)
        finally:
            _on_ending(signal.SIG_IGN)  # whoever loses patience now would leave things behind


def perform(chapters: Sequence[Chapter]) -> str:
    """Tell these: what failed, or nothing."""
    chapter = "the stage"
    try:
        with stage() as story:
            for each in chapters:
                chapter = each.__name__.replace("_", " ")
                each(story)
    except (Failed, SeawayError, OSError, subprocess.SubprocessError) as error:
        return " ".join([f"{chapter}: {error}", *getattr(error, "__notes__", [])])
    except KeyboardInterrupt:
        return f"{chapter}: interrupted"
    return "the host is still there" if f"demo-{os.getpid()}" in lab.names() else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    leave_out = "leave out the last chapter, which measures"
    parser.add_argument("--no-figures", action="store_true", help=leave_out)
    without = {figures} if parser.parse_args().no_figures else set()
    _on_ending(_interrupt)
    began = time.monotonic()
    failed = perform([chapter for chapter in CHAPTERS if chapter not in without])
    tell(f"\nthe demo took {time.monotonic() - began:.0f} s")
    tell(f"demo: failed: {failed}" if failed else "demo: ok")
    return 1 if failed else 0


def _on_ending(handler: object) -> None:
    for ending in ENDINGS:
        signal.signal(ending, handler)  # type: ignore[arg-type]


def _interrupt(*_: object) -> None:
    _on_ending(signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
