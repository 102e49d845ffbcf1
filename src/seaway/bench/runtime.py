"""A container runtime in small: executes a CNI plugin, and takes the time that each call takes.

Runs inside a lab host, so that the plugin starts at once in the right namespaces, and spawns with
as little of its own as it can. Reads lines `ADD PARALLEL NAME...` (or DEL), answers each by a line
of JSON: the milliseconds of each call, or what failed.

    python -m seaway.bench.runtime PLUGIN CONFIGURATION_FILE
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

ANSWERS = Path("/run/bench-answers")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Plugin:
    def __init__(self, program: Path, configuration: Path) -> None:
        self._program = program
        self._configuration = configuration
        ANSWERS.mkdir(exist_ok=True)

    def call(self, command: str, parallel: int, names: list[str]) -> list[float]:
        """Call the plugin for each, so many at a time; the milliseconds that each call took."""
        waiting, running, times = list(reversed(names)), dict[int, tuple[str, float]](), []
        while waiting or running:
            while waiting and len(running) < parallel:
                name, start = waiting.pop(), time.perf_counter()
                running[self._spawn(command, name)] = name, start
            pid, status = os.wait()
            name, start = running.pop(pid)
            times.append((time.perf_counter() - start) * 1000)
            if status:
                raise OSError(f"{command} {name}: {(ANSWERS / name).read_text().strip()}")
        return times

    def _spawn(self, command: str, name: str) -> int:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, str(self._configuration), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(ANSWERS / name), os.O_CREAT | os.O_WRONLY, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": f"/run/netns/{name}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self._program.parent),
            "PATH": PATH,
        }
        program = str(self._program)
        return os.posix_spawn(program, [program], environment, file_actions=actions)


def main() -> None:
    plugin = Plugin(Path(sys.argv[1]), Path(sys.argv[2]))
    for line in sys.stdin:
        command, parallel, *names = line.split()
        try:
            answer = json.dumps({"times": plugin.call(command, int(parallel), names)})
        except OSError as error:
            answer = json.dumps({"error": str(error)})
        print(answer, flush=True)


if __name__ == "__main__":
    main()
