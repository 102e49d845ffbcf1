"""The members of an etcd, told and changed: by the same links as the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from aetcd import rpc

from seaway.model.seats import NotYet, Seat
from seaway.store.members import WITHIN, Members, unavailable

_NOT_NOW = {
    grpc.StatusCode.FAILED_PRECONDITION,  # too many learners, one that is behind, too few that live
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.INVALID_ARGUMENT,
}


class Voters:
    """Each call is asked of one member, once. `NotYet`: it cannot be done now."""

    def __init__(self, members: Members) -> None:
        self._members = members

    async def seats(self) -> list[Seat]:
        return _seats(await self._call("MemberList", rpc.MemberListRequest()))

    async def add(self, peer: str) -> tuple[int, list[Seat]]:
        """A learner that is met there: its id, and all members."""
        request = rpc.MemberAddRequest(peerURLs=[peer], isLearner=True)
        found = await self._call("MemberAdd", request)
        return found.member.ID, _seats(found)

    async def promote(self, id_: int) -> None:
        await self._call("MemberPromote", rpc.MemberPromoteRequest(ID=id_))

    async def remove(self, id_: int) -> None:
        await self._call("MemberRemove", rpc.MemberRemoveRequest(ID=id_))

    def meet(self, urls: Sequence[str]) -> None:
        """From now on ask these members."""
        self._members.meet(urls)

    async def _call(self, what: str, request: Any) -> Any:
        async with self._members.link() as link:
            try:
                return await getattr(link.members, what)(request, timeout=WITHIN)
            except grpc.aio.AioRpcError as error:
                if error.code() in _NOT_NOW:
                    raise NotYet(f"etcd refuses: {error.details()}", "try again later") from None
                self._members.fail(link)
                raise unavailable([link.told(error)]) from error


def _seats(answer: rpc.MemberListResponse | rpc.MemberAddResponse) -> list[Seat]:
    return [
        Seat(m.ID, next(iter(m.peerURLs), ""), next(iter(m.clientURLs), ""), m.isLearner)
        for m in answer.members
    ]
