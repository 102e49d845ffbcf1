"""What a host has wherever something could be left behind."""

from __future__ import annotations

from collections.abc import Iterable

from seaway.lab import LabHost

# Routes for multicast, which the kernel gives each device, and we take away again.
PASSING = ("ff00::/8 dev swy",)


def left(host: LabHost, looks: Iterable[str]) -> dict[str, str]:
    """What each command says, once the kernel has made up its mind."""
    host.wait_for("DAD", lambda: not host.run("ip", "-6", "addr", "show", "tentative"))
    return {look: lasting(host.call(*look.split()).stdout) for look in looks}


def lasting(text: str, passing: Iterable[str] = PASSING) -> str:
    lines = (line for line in text.splitlines() if not any(part in line for part in passing))
    return "\n".join(lines)
