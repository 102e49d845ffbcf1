"""Kubernetes' way to ask a runtime for a pod: the calls of CRI that make and remove its sandbox.

A call is a POST over HTTP/2 with one message behind five bytes. curl does all but the message,
which is made of numbers, texts and messages, each behind its number in `runtime.v1` of the CRI.
"""

from __future__ import annotations

import base64
import struct
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from seaway.lab import LabHost
from seaway.lab.containerd import SOCKET

Fields = Iterable[tuple[int, int | str | bytes]]
NUMBER, BYTES = 0, 2  # kinds of fields
PROTOCOLS = {"tcp": 0, "udp": 1, "sctp": 2}
SERVICE = "http://localhost/runtime.v1.RuntimeService/"
CURL = """
base64 -d | curl --silent --show-error --http2-prior-knowledge --unix-socket "$0" \\
	--dump-header /dev/stderr --header 'content-type: application/grpc' --header 'te: trailers' \\
	--data-binary @- "$1" | base64 -w 0
"""


class Refused(Exception):
    """With what the runtime says."""


@dataclass(frozen=True)
class Port:
    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""

    def encoded(self) -> bytes:
        numbers = ((1, PROTOCOLS[self.protocol]), (2, self.container_port), (3, self.host_port))
        return message([*numbers, (4, self.host_ip)])


@dataclass(frozen=True)
class Pods:
    """What a kubelet asks of the containerd of a lab host."""

    host: LabHost

    def run(self, name: str, *ports: Port, labels: Iterable[tuple[str, str]] = ()) -> str:
        """Make a pod's sandbox with its network; its id."""
        metadata = message([(1, name), (2, f"uid-{name}"), (3, "shop")])
        told = [(6, message([(1, key), (2, value)])) for key, value in labels]
        config = [(1, metadata), (2, name), *((5, port.encoded()) for port in ports), *told]
        return self._call("RunPodSandbox", [(1, message(config))])

    def stop(self, pod: str) -> None:
        self._call("StopPodSandbox", [(1, pod)])

    def remove(self, pod: str) -> None:
        self._call("RemovePodSandbox", [(1, pod)])

    def _call(self, what: str, fields: Fields) -> str:
        """The first field of the answer, which is the only one that is looked at."""
        sent = message(fields)
        framed = base64.b64encode(struct.pack(">BI", 0, len(sent)) + sent).decode()
        done = self.host.call("sh", "-c", CURL, str(SOCKET), SERVICE + what, stdin=framed)
        heads = dict(line.split(": ", 1) for line in done.stderr.splitlines() if ": " in line)
        if heads.get("grpc-status") != "0":
            raise Refused(urllib.parse.unquote(heads.get("grpc-message", done.stderr)))
        answer = base64.b64decode(done.stdout)[5:]
        return answer[2 : 2 + answer[1]].decode() if answer else ""


def message(fields: Fields) -> bytes:
    return b"".join(part for number, value in fields for part in _field(number, value))


def _field(number: int, value: int | str | bytes) -> Iterator[bytes]:
    if isinstance(value, int):
        yield _varint(number << 3 | NUMBER) + _varint(value)
        return
    octets = value.encode() if isinstance(value, str) else value
    yield _varint(number << 3 | BYTES) + _varint(len(octets)) + octets


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that there are more."""
    more, last = value >> 7, value & 0x7F
    return bytes([last | 0x80]) + _varint(more) if more else bytes([last])
