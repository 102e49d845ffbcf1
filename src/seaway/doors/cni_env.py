"""The CNI environment: which call it is, of which attachment, with which arguments. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from seaway.errors import Invalid, InvalidEnvironment
from seaway.model.addresses import Address, parse_address, parse_interface, parse_mac
from seaway.model.facts import Value
from seaway.model.forms import check_container, check_interface, is_name

VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
_OF_ATTACHMENT = ("ADD", "DEL", "CHECK")
_INSIDE = ("ADD", "CHECK")
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
    name: str = ""  # of the container, where it is one for the whole host


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
    container, interface = env.get("CNI_CONTAINERID", ""), env.get("CNI_IFNAME", "")
    _check("CNI_CONTAINERID", check_container, container)
    _check("CNI_IFNAME", check_interface, interface)
    return Attachment(container=container, interface=interface)


def _check(variable: str, check: Callable[[str], None], value: str) -> None:
    try:
        check(value)
    except Invalid as error:
        raise InvalidEnvironment(f"{variable} is {value!r}: {error.message}", error.hint) from None


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
            name=_host_wide_name(pairs),
        )
    except Invalid as error:
        raise InvalidEnvironment(f"CNI_ARGS: {error.message}", error.hint) from None


def _host_wide_name(pairs: Mapping[str, str]) -> str:
    """Podman's name of a container or pod. With a namespace it is Kubernetes', and not unique."""
    name = pairs.get("K8S_POD_NAME", "")
    return name if is_name(name) and not pairs.get("K8S_POD_NAMESPACE") else ""


def parse_addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    """`<ip>[/<prefix>]`; the prefix says nothing here: ours have none, a foreign IPAM's its own."""
    return tuple(parse_interface(t).ip if "/" in t else parse_address(t) for t in texts)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or "=" in value:
        raise InvalidEnvironment(f"CNI_ARGS has '{text}'", "expected KEY=VALUE;KEY=VALUE")
    return key, value
