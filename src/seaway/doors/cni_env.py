"""The CNI environment: which call it is, of which attachment, with which arguments. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from seaway.errors import Invalid, InvalidEnvironment
from seaway.model.addresses import Address, parse_address, parse_interface, parse_mac
from seaway.model.facts import Value
from seaway.names import LINK_PREFIX

VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
_OF_ATTACHMENT = ("ADD", "DEL", "CHECK")
_INSIDE = ("ADD", "CHECK")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # spec, section 2: CNI_CONTAINERID
_BAD_IN_IFNAME = re.compile(r"[\s/:%\x00-\x1f\x7f]")  # the kernel's dev_valid_name, and '%'
_IFNAME_BYTES = 15
_POD_LABELS = {
    "K8S_POD_NAMESPACE": "io.kubernetes.pod.namespace",
    "K8S_POD_NAME": "io.kubernetes.pod.name",
    "K8S_POD_UID": "io.kubernetes.pod.uid",
}
_KNOWN_ARGS = {*_POD_LABELS, "K8S_POD_INFRA_CONTAINER_ID", "IP", "MAC", "IgnoreUnknown"}
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


class Arguments(Value):
    """What CNI_ARGS asks for. The configuration's `args` and `runtimeConfig` win over it."""

    addresses: tuple[Address, ...] = ()
    mac: str = ""
    labels: dict[str, str] = {}


class Attachment(Value):
    """Of one interface of one container: what a runtime never repeats without a DEL."""

    container: str = ""
    interface: str = ""


class Environment(Value):
    verb: str
    attachment: Attachment = Attachment()
    netns: str = ""
    path: tuple[str, ...] = ()  # where plugins lie
    arguments: Arguments = Arguments()


def parse_environment(env: Mapping[str, str]) -> Environment:
    verb = env.get("CNI_COMMAND", "")
    if verb not in VERBS:
        raise InvalidEnvironment(f"CNI_COMMAND is '{verb}'", f"expected one of {', '.join(VERBS)}")
    path = tuple(p for p in env.get("CNI_PATH", "").split(":") if p.startswith("/"))
    if verb not in _OF_ATTACHMENT:
        return Environment(verb=verb, path=path)
    netns = env.get("CNI_NETNS", "")
    if verb in _INSIDE and not netns.startswith("/"):
        raise InvalidEnvironment(
            f"CNI_NETNS is '{netns}'", "expected the absolute path of a network namespace"
        )
    return Environment(
        verb=verb,
        attachment=_attachment(env),
        netns=netns,
        path=path,
        # A malformed argument must not keep a runtime from taking an attachment down.
        arguments=parse_arguments(env.get("CNI_ARGS", "")) if verb == "ADD" else Arguments(),
    )


def _attachment(env: Mapping[str, str]) -> Attachment:
    container = env.get("CNI_CONTAINERID", "")
    if not is_name(container):
        raise InvalidEnvironment(
            f"CNI_CONTAINERID is '{container}'",
            "expected letters, digits, '_', '.', '-', beginning with a letter or digit",
        )
    interface = env.get("CNI_IFNAME", "")
    if not _is_interface_name(interface):
        raise InvalidEnvironment(
            f"CNI_IFNAME is '{interface}'",
            f"expected 1 to 15 bytes without / : % or space, not lo, . or .., not {LINK_PREFIX}…",
        )
    return Attachment(container=container, interface=interface)


def is_name(text: str) -> bool:
    """Of a container or of a network configuration."""
    return bool(_NAME.fullmatch(text))


def _is_interface_name(text: str) -> bool:
    return (
        0 < len(text.encode()) <= _IFNAME_BYTES
        and text not in (".", "..", "lo")
        and not text.startswith(LINK_PREFIX)
        and not _BAD_IN_IFNAME.search(text)
    )


def parse_arguments(text: str) -> Arguments:
    """`K=V;K=V`. As with the reference plugins, others' keys need IgnoreUnknown=1."""
    pairs = dict(_pair(pair) for pair in text.split(";") if pair)
    tolerant = pairs.get("IgnoreUnknown", "0").lower()
    if tolerant not in _TRUTH:
        raise InvalidEnvironment(f"CNI_ARGS has IgnoreUnknown={tolerant}", "expected 0 or 1")
    unknown = sorted(pairs.keys() - _KNOWN_ARGS)
    if unknown and not _TRUTH[tolerant]:
        raise InvalidEnvironment(
            f"CNI_ARGS has the unknown argument {unknown[0]}={pairs[unknown[0]]}",
            f"expected {', '.join(sorted(_KNOWN_ARGS))}; IgnoreUnknown=1 lets others pass",
        )
    try:
        return Arguments(
            addresses=parse_addresses(a for a in pairs.get("IP", "").split(",") if a),
            mac=parse_mac(pairs["MAC"]) if pairs.get("MAC") else "",
            labels={label: pairs[key] for key, label in _POD_LABELS.items() if pairs.get(key)},
        )
    except Invalid as error:
        raise InvalidEnvironment(f"CNI_ARGS: {error.message}", error.hint) from None


def parse_addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    """`<ip>[/<prefix>]`; the prefix says nothing here: ours have none, a foreign IPAM's its own."""
    return tuple(parse_interface(t).ip if "/" in t else parse_address(t) for t in texts)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or "=" in value:
        raise InvalidEnvironment(f"CNI_ARGS has '{text}'", "expected KEY=VALUE;KEY=VALUE")
    return key, value
