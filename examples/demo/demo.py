"""`make demo`: tells the story on virtual hosts, in three parts, and leaves nothing behind."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import many_hosts
import one_host
import services
from cluster import Cluster
from figures import side_by_side
from story import HERE, Failed, Story, tell

from seaway import bench, lab
from seaway.errors import SeawayError
from seaway.lab import images
from seaway.lab.containerd import Containerd

IMAGES = HERE.parents[1] / "build" / "images"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LABS = ("demo", "demo-line")

On = TypeVar("On")


@contextmanager
def stage() -> Iterator[tuple[Story, Cluster, Future[None]]]:
    """Hosts with agents and container engines, gone in the end. Those of the other parts are made
    while the first is told; where that goes wrong, they are taken from under whoever makes them.
    """
    tell("making virtual hosts, and on the first of them an agent and a container engine ...")
    image = images.python(IMAGES)
    with ThreadPoolExecutor(1) as beside, ExitStack() as kept:
        folder = Path(kept.enter_context(TemporaryDirectory(prefix="seaway-demo-")))
        one, line = LABS
        host, outside = kept.enter_context(lab.passing(one, hosts=2)).hosts
        many = kept.enter_context(lab.passing(line, hosts=3, world=True, topology="line"))
        # Whoever loses patience while they go would leave things behind.
        kept.callback(_on_ending, signal.SIG_IGN)
        host.start_agent()
        engine = Containerd(host)
        engine.start()
        engine.load(image)
        cluster = Cluster(many, image, folder, kept)
        story = Story(host=host, engine=engine, image=image, outside=outside)
        yield story, cluster, beside.submit(cluster.make)


class Telling:
    """Knows where it is in the story."""

    chapter = "the stage"

    def go_through(self, chapters: Sequence[Callable[[On], None]], on: On) -> None:
        for each in chapters:
            self.chapter = each.__name__.replace("_", " ")
            each(on)

    def tell(self, *, with_figures: bool) -> None:
        with stage() as (story, cluster, made):
            self.go_through(one_host.CHAPTERS, story)
            self.chapter = "the stage of the second part"
            made.result()
            self.go_through(many_hosts.CHAPTERS, cluster)
            self.go_through(services.CHAPTERS, cluster)
        if with_figures:
            self.go_through([side_by_side], bench.Options(rounds=1))


def perform(*, with_figures: bool) -> str:
    """Tell it all: what failed, or nothing."""
    telling = Telling()
    try:
        telling.tell(with_figures=with_figures)
    except (Failed, SeawayError, OSError, subprocess.SubprocessError) as error:
        return " ".join([f"{telling.chapter}: {error}", *getattr(error, "__notes__", [])])
    except KeyboardInterrupt:
        return f"{telling.chapter}: interrupted"
    left = {f"{name}-{os.getpid()}" for name in LABS}.intersection(lab.names())
    return f"still there: {', '.join(left)}" if left else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    leave_out = "leave out the last chapter, which measures"
    parser.add_argument("--no-figures", action="store_true", help=leave_out)
    given = parser.parse_args()
    _on_ending(_interrupt)
    began = time.monotonic()
    failed = perform(with_figures=not given.no_figures)
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
