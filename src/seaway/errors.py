"""The errors that a user can meet, each with its status in every language we speak.

    SeawayError                     exit  HTTP  CNI
    ├── Invalid                        2   400    7   the request itself is wrong
    │   ├── Unsupported                2   400    2   a field or value that is not offered
    │   ├── IncompatibleVersion        2   400    1   a CNI version that we do not speak
    │   ├── InvalidEnvironment         2   400    4   a CNI_* variable is missing or malformed
    │   └── Undecodable                2   400    6   not JSON, TOML or YAML, or not the right shape
    ├── NotFound                       3   404  100   no such network, endpoint, address
    │   └── ContainerGone              3   404    3   the network namespace is not there any more
    ├── Conflict                       4   409  101   in use, overlapping, or there already
    ├── Exhausted                      5   507  102   no free address or block
    ├── Forbidden                      6   403  103   needs root, or a capability
    ├── Unavailable                    7   503   11   the agent does not answer, or not yet
    │   ├── NotReady                   7   503   50   no ADD can be served now
    │   └── Limited                    7   503   51   STATUS: nor may containers reach all
    ├── HostUnfit                      8   500  104   this kernel or host lacks what we need
    ├── StoreDamaged                   9   500  105   the store is damaged or of a newer version
    ├── SystemFailed                  10   500    5   the kernel or the disk refused
    ├── Drifted                       11   500  106   CHECK: not all that was attached is there
    └── IpamFailed                    12   500  107   another IPAM plugin failed; its code, if any

Expected failures are these and `OSError` from the kernel; any other exception is a defect. A
command, and an agent in whose own tasks it happens, ends with its traceback; of a request the
agent logs that, answers 500 and works on.
"""

from __future__ import annotations

from typing import ClassVar


class SeawayError(Exception):
    """What was wrong, what was expected, and what to do, in one line."""

    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    cni_code: ClassVar[int] = 999

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    @property
    def kind(self) -> str:
        """How the error is told over HTTP: the name of its class, or of the nearest one here."""
        return next(c.__name__ for c in type(self).__mro__ if c.__module__ == __name__)


class Invalid(SeawayError):
    exit_status, http_status, cni_code = 2, 400, 7


class Unsupported(Invalid):
    cni_code = 2


class IncompatibleVersion(Invalid):
    cni_code = 1


class InvalidEnvironment(Invalid):
    cni_code = 4


class Undecodable(Invalid):
    cni_code = 6


class NotFound(SeawayError):
    exit_status, http_status, cni_code = 3, 404, 100


class ContainerGone(NotFound):
    cni_code = 3


class Conflict(SeawayError):
    exit_status, http_status, cni_code = 4, 409, 101


class Exhausted(SeawayError):
    exit_status, http_status, cni_code = 5, 507, 102


class Forbidden(SeawayError):
    exit_status, http_status, cni_code = 6, 403, 103


class Unavailable(SeawayError):
    exit_status, http_status, cni_code = 7, 503, 11


class NotReady(Unavailable):
    cni_code = 50


class Limited(Unavailable):
    cni_code = 51


class HostUnfit(SeawayError):
    exit_status, http_status, cni_code = 8, 500, 104


class StoreDamaged(SeawayError):
    exit_status, http_status, cni_code = 9, 500, 105


class SystemFailed(SeawayError):
    exit_status, http_status, cni_code = 10, 500, 5


class Drifted(SeawayError):
    exit_status, http_status, cni_code = 11, 500, 106


class IpamFailed(SeawayError):
    exit_status, http_status, cni_code = 12, 500, 107


def all_kinds() -> dict[str, type[SeawayError]]:
    """Every error of the tree by its name, to rebuild one that came over HTTP."""
    kinds: dict[str, type[SeawayError]] = {}
    todo: list[type[SeawayError]] = [SeawayError]
    while todo:
        kind = todo.pop()
        kinds[kind.__name__] = kind
        todo += kind.__subclasses__()
    return kinds
