"""What travels over the agent's socket besides requests and reports.

The C front in cni/ writes `CniCall` and reads `CniAnswer` by hand: neither may change without it.
"""

from __future__ import annotations

from seaway.errors import SeawayError, all_kinds
from seaway.model.facts import Value


class Refusal(Value):
    """An error of `errors.py`, as the agent tells it."""

    kind: str
    message: str
    hint: str = ""
    cni_code: int = 999

    def error(self) -> SeawayError:
        """The error that the agent raised; of a newer agent's unknown kind, its plain base."""
        return all_kinds().get(self.kind, SeawayError)(self.message, self.hint)


class ErrorReport(Value):
    error: Refusal


def report_of(error: SeawayError) -> ErrorReport:
    refusal = Refusal(
        kind=error.kind, message=error.message, hint=error.hint, cni_code=error.cni_code
    )
    return ErrorReport(error=refusal)


class CniCall(Value):
    """One call of the CNI program, as its runtime made it."""

    env: dict[str, str]
    stdin: str
    tried: int = 0  # nanoseconds since the epoch: this ADD was sent then, and never answered


class CniAnswer(Value):
    """What the CNI program prints and returns."""

    stdout: str
    exit: int
    stderr: str = ""  # what IPAM plugins had to say
