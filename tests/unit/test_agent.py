"""What the agent does by itself, in which order."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any, cast

import pytest
from tests import agents
from tests.agents import run

from seaway.agent import Agent


class Plane:
    def __init__(self) -> None:
        self.retired = False

    def retire(self) -> None:
        self.retired = True


@pytest.mark.parametrize("target", ["attachments", "uplinks", "sockets"])
def test_old_maps_stay_while_a_program_could_not_be_swapped(tmp_path: Path, target: str) -> None:
    async def scenario(host: agents.Agent) -> None:
        await host.attach("web")
        kernel, convergence = host.kernel[target], host.intents.convergence
        kernel.objects["old"] = "the program of another build"
        kernel.refuses = {"old": OSError(errno.ENOMEM, "no memory")}
        await convergence.settle(convergence.adopt())
        assert [target] == [failure.target for failure in host.intents.status().failures]

        plane, none = Plane(), cast("Any", None)
        agent = Agent(host.intents, convergence, none, none, cast("Any", plane), [], none, {})
        retiring = asyncio.create_task(agent.retire())
        await asyncio.sleep(0)
        assert not plane.retired
        kernel.refuses = {}
        convergence.retry()
        await asyncio.wait_for(retiring, 30)
        assert plane.retired

    run(tmp_path, scenario)
