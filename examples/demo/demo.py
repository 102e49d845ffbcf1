"""`make demo`: tells the story of chapters.py on a virtual host, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chapters import CHAPTERS
from story import HERE, Failed, Story, tell

from seaway import lab
from seaway.errors import SeawayError
from seaway.lab import images
from seaway.lab.containerd import Containerd

IMAGES = HERE.parents[1] / "build" / "images"
LAB = "demo"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stage() -> Iterator[Story]:
    """One virtual host with its agent and its container engine; gone in the end."""
    tell("making a virtual host, its agent and its container engine ...")
    lab.down(LAB)  # of a demo that was killed
    image = images.python(IMAGES)
    try:
        host = lab.up(LAB, hosts=1, agents=True).hosts[0]
        engine = Containerd(host)
        engine.start()
        engine.load(image)
        yield Story(host, engine, image)
    finally:
        _on_ending(signal.SIG_IGN)  # whoever loses patience now would leave things behind
        lab.down(LAB)


def perform() -> str:
    """Tell all of it: what failed, or nothing."""
    chapter = "the stage"
    try:
        with stage() as story:
            for each in CHAPTERS:
                chapter = each.__name__.replace("_", " ")
                each(story)
    except (Failed, SeawayError, OSError, subprocess.SubprocessError) as error:
        return " ".join([f"{chapter}: {error}", *getattr(error, "__notes__", [])])
    except KeyboardInterrupt:
        return f"{chapter}: interrupted"
    return f"the host is still there: {LAB}" if LAB in lab.names() else ""


def main() -> int:
    _on_ending(_interrupt)
    began = time.monotonic()
    failed = perform()
    tell(f"\nthe demo took {time.monotonic() - began:.0f} s")
    tell(f"demo: failed: {failed}" if failed else "demo: ok")
    return 1 if failed else 0


def _on_ending(handler: object) -> None:
    for ending in ENDINGS:
        signal.signal(ending, handler)  # type: ignore[arg-type]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
