"""What names, labels and aliases may look like: the same for every door.

Each check raises `Invalid`, without a look at any fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from seaway.errors import Invalid
from seaway.names import LINK_PREFIX

_NETWORK = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label (RFC 1123, 2.1)
# A name of a machine (hostname(7)) as it stands in keys of the store and in certificates.
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # CNI 1.1, section 2: CNI_CONTAINERID
_ENDPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_ALIAS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
_BAD_IN_INTERFACE = re.compile(rb"[\s/:%\x00-\x1f\x7f\xa0]")  # the kernel's dev_valid_name, and '%'
_INTERFACE_BYTES: Final = 15
_LABEL_KEY = re.compile(r"[^\x00-\x1f\x7f]{1,317}")
_LABEL_VALUE = re.compile(r"[^\x00-\x1f\x7f]{0,1024}")


def is_name(text: str) -> bool:
    """Of a container, of a CNI configuration, of a plugin."""
    return bool(_NAME.fullmatch(text))


def check_network(name: str) -> None:
    if not _NETWORK.fullmatch(name):
        raise Invalid(
            f"{name!r} is no network name",
            "expected up to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
        )


def check_host(name: str) -> None:
    if not _HOST.fullmatch(name):
        raise Invalid(
            f"{name!r} is no host name",
            "expected up to 64 letters, digits, '-', '_' and '.', as: hostnamectl hostname NAME",
        )


def check_container(name: str) -> None:
    if not is_name(name):
        raise Invalid(
            f"{name!r} is no container id",
            "expected letters, digits, '_', '.', '-', beginning with a letter or digit",
        )


def check_endpoint(name: str) -> None:
    if not _ENDPOINT.fullmatch(name):
        raise Invalid(f"{name!r} is no endpoint name", "expected letters, digits, '_', '.', '-'")


def check_interface(name: str) -> None:
    octets = name.encode()
    if not octets or name in (".", "..") or _BAD_IN_INTERFACE.search(octets):
        raise Invalid(f"{name!r} is no interface name", "expected one without / : % or space")
    if len(octets) > _INTERFACE_BYTES:
        raise Invalid(f"interface name {name!r} is too long", "expected 1 to 15 bytes")
    if name.startswith(LINK_PREFIX) or name == "lo":
        raise Invalid(f"interface name {name!r} is reserved", "choose e.g. eth0")


def check_aliases(aliases: Iterable[str]) -> None:
    for alias in aliases:
        if not _ALIAS.fullmatch(alias):
            raise Invalid(f"{alias!r} is no alias", "expected letters, digits, '-', '_' and '.'")


def check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if not (_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)):
            raise Invalid(f"label {key!r} is malformed", "expected KEY=VALUE without control bytes")
