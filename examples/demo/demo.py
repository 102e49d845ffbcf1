"""The story that `make demo` tells, with real containers on one virtual host; see README.md."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from seaway import lab
from seaway.errors import SeawayError
from seaway.lab import LabHost, images
from seaway.lab.containerd import Containerd
from seaway.lab.images import Image

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parents[1] / "build" / "images"
LAB = "demo"
BACKENDS = ("backend-1", "backend-2", "backend-3")
LOAD_SECONDS = 6.0
METRICS = ("udp_rr_p50", "tcp_rr_p50", "tcp_gbps")
IDLE = ("python3", "-c", "import signal; signal.pause()")
FALSE_SOURCE = "192.0.2.66"  # an address of documentation: nobody's


class Failed(Exception):
    """Something that the story promises did not happen."""


@dataclass
class Story:
    host: LabHost
    engine: Containerd
    image: Image
    chapter: str = ""
    addresses: dict[str, list[str]] = field(default_factory=dict)

    def tell(self, chapter: str) -> None:
        self.chapter = chapter
        print(f"\n\033[1m── {chapter}\033[0m", flush=True)

    def seaway(self, *command: str) -> str:
        print(f"$ seaway {' '.join(command)}")
        output = self.host.seaway(*command)
        print(output.rstrip(), flush=True)
        return output

    def drops(self) -> dict[str, int]:
        status = json.loads(self.host.seaway("status", "-o", "json"))
        return {drop["reason"]: drop["packets"] for drop in status["drops"]}

    @contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """What was dropped meanwhile, by reason."""
        before, dropped = self.drops(), dict[str, int]()
        yield dropped
        after = self.drops()
        dropped |= {r: n - before.get(r, 0) for r, n in after.items() if n > before.get(r, 0)}

    def start(self, name: str, network: str, *command: str) -> None:
        """Start a container of the Python image, with this folder mounted on /app."""
        labels = [{"key": "app", "value": name.rstrip("-0123456789")}]
        self.engine.use({"type": "seaway", "network": network, "args": {"cni": {"labels": labels}}})
        mount = f"type=bind,src={HERE},dst=/app,options=rbind:ro"
        self.engine.run(name, self.image, *command, options=("--mount", mount))
        self.addresses[name] = self.engine.addresses(name)
        print(f"  {name:10} {', '.join(self.addresses[name])}", flush=True)

    def python(self, name: str, script: str, *arguments: str, timeout: float = 30.0) -> str:
        return self.engine.call(name, "python3", f"/app/{script}", *arguments, timeout=timeout)


def check(promise: str, kept: object) -> None:
    if not kept:
        raise Failed(promise)
    print(f"  ✓ {promise}", flush=True)


def containers_start(story: Story) -> None:
    story.tell("containerd starts an API gateway, three backends and a client on one network")
    story.seaway("network", "create", "shop")
    for name in BACKENDS:
        story.start(name, "shop", "python3", "/app/backend.py", name)
    backends = [address for name in BACKENDS for address in story.addresses[name]]
    story.start("gateway", "shop", "python3", "/app/gateway.py", *backends)
    story.start("client", "shop", *IDLE)
    story.seaway("endpoint", "ls")


def requests_pass(story: Story) -> None:
    story.tell("Requests go through the gateway to every backend, by IPv4 and by IPv6")
    for address in story.addresses["gateway"]:
        story.host.wait_for("the gateway's start", partial(_answers, story, address))
        answers = _ask(story, address, 1.0)
        print(f"  {address}: {sum(answers.values())} requests: {_spread(answers)}")
        check("every backend answered, and nothing failed", set(answers) == set(BACKENDS))


def lies_are_dropped(story: Story) -> None:
    story.tell("A backend lies about its source address")
    (true, *_), (gateway, *_) = story.addresses["backend-1"], story.addresses["gateway"]
    with story.counting() as dropped:
        story.python("backend-1", "spoof.py", true, FALSE_SOURCE, gateway)
    print(f"  one packet from {true}, one from {FALSE_SOURCE}; dropped: {dropped}")
    check("the lie was dropped and counted, the truth was not", dropped == {"spoofed_address": 1})


def networks_are_closed(story: Story) -> None:
    story.tell("A stranger on another network knocks at the gateway")
    story.seaway("network", "create", "other")
    story.start("stranger", "other", *IDLE)
    gateway = story.addresses["gateway"][0]
    with story.counting() as dropped:
        check("the stranger is not let in", not _answers(story, gateway, "stranger"))
    check(
        f"what it sent was dropped, with the reason: isolated {dropped.get('isolated')}",
        dropped.get("isolated", 0) > 0,
    )
    story.seaway("network", "connect", "other", "shop")
    check("connected by name, the networks talk", _answers(story, gateway, "stranger"))
    story.seaway("network", "disconnect", "other", "shop")
    check("and disconnected they do not", not _answers(story, gateway, "stranger"))


def agent_dies(story: Story) -> None:
    story.tell("The agent is killed while requests are running")
    gateway = story.addresses["gateway"][0]
    script = ["python3", "/app/client.py", gateway, str(LOAD_SECONDS)]
    task = ["ctr", "task", "exec", "--exec-id", "load", "client", *script]
    with story.host.popen(*task, stdout=subprocess.PIPE) as load:
        _after(LOAD_SECONDS / 3)
        pid = story.host.agent_pid()
        story.host.kill_agent()
        print(f"  kill -9 {pid}", flush=True)
        _after(LOAD_SECONDS / 3)
        began = time.monotonic()
        story.host.start_agent()
        print(f"  a new agent is ready after {time.monotonic() - began:.1f} s", flush=True)
        answers = json.loads(load.communicate(timeout=30)[0])
    print(f"  {sum(answers.values())} requests: {_spread(answers)}")
    check("no request was lost", set(answers) == set(BACKENDS))


def host_is_healthy(story: Story) -> None:
    story.tell("What the host says of itself")
    story.seaway("status")
    story.seaway("doctor")


def container_vanishes(story: Story) -> None:
    story.tell("A container is killed, and nobody tells the network")
    story.engine.remove("stranger")
    story.host.wait_for("the release of its address", lambda: not _endpoints(story, "other"))
    check("its endpoint is released by itself", not _endpoints(story, "other"))


def figures(story: Story) -> None:
    story.tell("Measured here, side by side")
    bench = [sys.executable, "-m", "seaway", "bench", "same-host", "--quick"]
    bench += ["--metric", ",".join(METRICS)]
    print(
        f"  a look of a few rounds at {', '.join(METRICS)}: `make bench` measures all", flush=True
    )
    done = subprocess.run(bench, check=False, capture_output=True, text=True, timeout=300)
    print(done.stdout, flush=True)
    if done.returncode:
        raise Failed(f"seaway bench: {done.stderr[-500:]}")


CHAPTERS: tuple[Callable[[Story], None], ...] = (
    containers_start,
    requests_pass,
    lies_are_dropped,
    networks_are_closed,
    agent_dies,
    container_vanishes,
    host_is_healthy,
    figures,
)


def _ask(story: Story, address: str, seconds: float) -> dict[str, int]:
    answers: dict[str, int] = json.loads(story.python("client", "client.py", address, str(seconds)))
    return answers


def _answers(story: Story, address: str, who: str = "client") -> bool:
    """Whether one request is answered by a backend."""
    answer = json.loads(story.python(who, "client.py", address, "0.01"))
    return set(answer) <= set(BACKENDS)


def _endpoints(story: Story, network: str) -> list[object]:
    listing = story.host.seaway("endpoint", "ls", "--network", network, "-o", "json")
    endpoints: list[object] = json.loads(listing)
    return endpoints


def _spread(answers: dict[str, int]) -> str:
    return ", ".join(f"{who} {count}" for who, count in sorted(answers.items()))


def _after(seconds: float) -> None:
    time.sleep(seconds)  # the story's own pace; nothing is waited for


@contextmanager
def stage() -> Iterator[Story]:
    """One virtual host with its agent and its container engine; gone in the end."""
    print("making a virtual host, its agent and its container engine ...", flush=True)
    lab.down(LAB)
    image = images.python(IMAGES)
    try:
        host = lab.up(LAB, hosts=1, agents=True).hosts[0]
        engine = Containerd(host)
        engine.start()
        engine.load(image)
        yield Story(host, engine, image)
    finally:
        lab.down(LAB)


def main() -> int:
    chapter = "the stage"
    try:
        with stage() as story:
            for tell in CHAPTERS:
                chapter = tell.__name__.replace("_", " ")
                tell(story)
    except (Failed, SeawayError, OSError, subprocess.SubprocessError) as error:
        notes = " ".join(getattr(error, "__notes__", []))
        print(f"demo: failed: {chapter}: {error} {notes}".rstrip())
        return 1
    print("demo: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
