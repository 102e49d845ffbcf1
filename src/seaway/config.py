"""The configuration file of one host: few settings, each with an effect, unknown ones refused.

What belongs to the cluster or to a network is no setting of a host: it is in the store, and
changed by commands. docs/cli.md describes every key.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

from msgspec import Meta

from seaway import names
from seaway.errors import Invalid, SeawayError, SystemFailed, Undecodable
from seaway.model import codec
from seaway.model.facts import Probes, Value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SMALLEST_MTU = 1280  # what IPv6 asks of every link (RFC 8200, 5)
LARGEST_MTU = 65535


class AgentConfig(Value):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    attach: Literal["auto", "tcx", "cls_bpf"] = "auto"


class NetworkConfig(Value):
    # Of new networks that do not say; 0: that of the uplink.
    mtu: Annotated[int, Meta(ge=0, le=LARGEST_MTU)] = 0


class RoutingConfig(Value):
    probes: Probes = "default"  # fast: a dead link is noticed in 0.2 s, not 0.6


class Config(Value):
    agent: AgentConfig = AgentConfig()
    network: NetworkConfig = NetworkConfig()
    routing: RoutingConfig = RoutingConfig()


_SECTIONS: dict[str, type[Value]] = {
    "agent": AgentConfig,
    "network": NetworkConfig,
    "routing": RoutingConfig,
}

TEMPLATE = """\
# Seaway on this host. Every setting with its default; restart the agent after a change:
# systemctl restart seaway   (no connection of a container breaks)

[agent]
#log_level = "info"      # debug, info, warning, error
#attach = "auto"         # tcx, cls_bpf; auto: tcx where the kernel has it

[network]
#mtu = 0                 # of new networks that do not say; 0: that of the uplink

[routing]
#probes = "default"      # fast: a dead link to another host is noticed in 0.2 s, not 0.6
"""


def load(path: Path = names.CONFIG_FILE) -> Config:
    """The settings; the defaults where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise SystemFailed(f"{path} cannot be read: {error.strerror}", "mend it") from error
    except UnicodeDecodeError as error:
        raise Undecodable(f"{path} is not UTF-8: {error}", "write it anew") from error
    try:
        return parse(text)
    except SeawayError as error:
        raise type(error)(f"{path}: {error.message}", error.hint) from error


def parse(text: str) -> Config:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Undecodable(f"not TOML: {error}", "mend that line, or comment it out") from error
    _refuse_unknown(found)
    try:
        config = codec.from_builtins(found, Config)
    except Undecodable as error:
        raise Undecodable(error.message, _expected(found)) from None
    if 0 < config.network.mtu < SMALLEST_MTU:
        raise Invalid(
            f"network.mtu is {config.network.mtu}", f"expected 0, or {SMALLEST_MTU} and more"
        )
    return config


def _refuse_unknown(found: dict[str, object]) -> None:
    """Sections and keys by name, with those that there are."""
    for name, value in found.items():
        if name not in _SECTIONS:
            raise Undecodable(f"unknown key '{name}'", f"expected sections: {_list(_SECTIONS)}")
        keys = _SECTIONS[name].__struct_fields__
        unknown = [key for key in value if key not in keys] if isinstance(value, dict) else []
        if unknown:
            raise Undecodable(
                f"unknown key '{unknown[0]}' in section [{name}]", f"expected: {_list(keys)}"
            )


def _expected(found: dict[str, Any]) -> str:
    """What the first setting with a wrong value may be."""
    for name, kind in _SECTIONS.items():
        section = found.get(name, {})
        if not isinstance(section, dict):
            return f"expected a section [{name}]"
        for key, value in section.items():
            try:
                codec.from_builtins({key: value}, kind)
            except Undecodable:
                choices = get_args(get_type_hints(kind)[key])
                numbers = f"0, or {SMALLEST_MTU} to {LARGEST_MTU}"
                return f"of {key} expected: {_list(choices) if choices else numbers}"
    return ""


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
