"""What callers may ask of the agent: the only way from requests to facts.

An intent is checked against the facts, committed to the store, and then waits until the
kernel has it. What fails after the commit is taken back the same way.
"""

from __future__ import annotations

from seaway.intents.addresses import AddressIntents
from seaway.intents.backup import BackupIntents
from seaway.intents.endpoints import EndpointIntents
from seaway.intents.health import HealthIntents
from seaway.intents.hosts import HostIntents
from seaway.intents.joining import JoiningIntents
from seaway.intents.networks import NetworkIntents
from seaway.intents.services import ServiceIntents
from seaway.intents.tokens import TokenIntents
from seaway.intents.tracing import TraceIntents


class Intents(
    HealthIntents,
    NetworkIntents,
    EndpointIntents,
    AddressIntents,
    BackupIntents,
    TraceIntents,
    HostIntents,
    JoiningIntents,
    TokenIntents,
    ServiceIntents,
):
    """All of them, over one desk."""
