"""Bandwidth in CNI's words: the capability `bandwidth`, bits and bits a second. No I/O."""

from __future__ import annotations

from typing import Final

import msgspec

from seaway.model.bandwidth import check_bandwidth

# Bits: what runtimes say where nobody said anything, as the reference plugin wants a burst.
_UNSAID: Final = frozenset(((1 << 31) - 1, (1 << 32) - 1))


class Bandwidth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """0: no limit, and the usual burst."""

    ingress_rate: int = 0  # into the container
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0

    def checked(self) -> Bandwidth:
        """Without bursts that nobody meant."""
        meant = msgspec.structs.replace(
            self,
            ingress_burst=0 if self.ingress_burst in _UNSAID else self.ingress_burst,
            egress_burst=0 if self.egress_burst in _UNSAID else self.egress_burst,
        )
        check_bandwidth("ingress", meant.ingress_rate, meant.ingress_burst)
        check_bandwidth("egress", meant.egress_rate, meant.egress_burst)
        return meant
