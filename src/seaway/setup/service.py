"""Starts the agent, and says why it is not ready."""

from __future__ import annotations

import os
import time

from seaway import names
from seaway.client import Client
from seaway.daemons import AGENT, has_systemd
from seaway.errors import NotReady, Unavailable

READY_WITHIN = 30.0  # seconds
_POLL = 0.02
_TAIL = 2048  # bytes of a log that are looked at


def start() -> None:
    """Start an agent; `wait_until_ready` tells how that went."""
    AGENT.start(enable=True)


def wait_until_ready(client: Client, within: float = READY_WITHIN) -> None:
    """Return once ADD is served; else say what the agent said last."""
    deadline = time.monotonic() + within
    while True:
        try:
            if client.status().ready:
                return
            trouble = "it answers, but is not ready"
        except Unavailable as error:
            trouble = error.message
        if time.monotonic() > deadline:
            raise NotReady(f"the agent was not ready within {within:.0f} s: {trouble}", _advice())
        time.sleep(_POLL)


def _advice() -> str:
    """Where its log is, and its last line."""
    if has_systemd():
        return "see: journalctl -u seaway"
    try:
        with names.LOG_FILE.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL))
            lines = log.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return "it wrote no log"
    last = next((line for line in reversed(lines) if line.strip()), "nothing")
    return f"see {names.LOG_FILE}; its last line: {last}"
