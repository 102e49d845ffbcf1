"""The store of many hosts: etcd v3, given or run by us. One transaction for each commit.

Of the library aetcd only its messages and stubs are used: its client speaks no TLS and does not say
at which revision a transaction was done. gRPC costs a process 15 MB (11 as it is imported, 4 in
use), so nothing imports this module but where there is an etcd.

Every commit also writes `head`, with a mark of its own. A watch that comes back compares the marks
at its last revision and at our own last commit: in a store that was restored, or is another one,
they are not the same.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import groupby

import grpc
from aetcd import rpc

from seaway.errors import Invalid
from seaway.store.base import Changed, Commit, Item, Missed, Moment, Snapshot
from seaway.store.members import WITHIN, Identity, Link, Members, unavailable
from seaway.store.voters import Voters

PREFIX = "/seaway/v1/"
_HEAD = "head"
_PAGE = 5000  # records read at once
_LEADER = (("hasleader", "true"),)  # a member without one ends the watch


class EtcdStore:
    """Records lie under `prefix`; see `Members` for how members are named."""

    def __init__(
        self, members: Sequence[str], identity: Identity | None = None, prefix: str = PREFIX
    ) -> None:
        self._members = Members(members, identity)
        self.voters = Voters(self._members)
        self._last = Moment(0)  # that we committed
        self._prefix = prefix
        self._first = prefix.encode()
        self._end = self._first[:-1] + bytes([self._first[-1] + 1])

    def _key(self, key: str) -> bytes:
        return f"{self._prefix}{key}".encode()

    # Reading

    async def load(self) -> Snapshot:
        while True:
            try:
                return await self._load()
            except Missed:  # it was compacted between two pages
                continue

    async def _load(self) -> Snapshot:
        items: dict[str, Item] = {}
        revision, start = 0, self._first
        while True:
            page = await self._range(start, self._end, revision)
            revision = revision or page.header.revision
            for kv in page.kvs:
                items[kv.key.decode()[len(self._prefix) :]] = Item(kv.value, kv.mod_revision)
            if not page.more:
                break
            start = page.kvs[-1].key + b"\0"
        head = items.pop(_HEAD, None)
        return Snapshot(revision, items, head.value.decode() if head else "")

    async def _range(self, start: bytes, end: bytes, revision: int) -> rpc.RangeResponse:
        """Of the first member that answers: reading twice does no harm."""
        request = rpc.RangeRequest(key=start, range_end=end, limit=_PAGE, revision=revision)
        refusals = []
        for _ in range(len(self._members)):
            async with self._members.link() as link:
                try:
                    return await _read(link, request, self._members.share)
                except grpc.aio.AioRpcError as error:
                    self._members.fail(link)
                    refusals.append(link.told(error))
        raise unavailable(refusals)

    # Writing

    async def commit(
        self, changes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None
    ) -> Commit:
        """Asked of one member, once: had it been done after all, doing it again might undo what
        somebody else did since.
        """
        expect, mark = expect or {}, secrets.token_hex(8)
        request = rpc.TxnRequest(
            compare=[self._unchanged(key, at) for key, at in expect.items()],
            success=[self._written(k, v) for k, v in {**changes, _HEAD: mark.encode()}.items()],
            failure=[
                rpc.RequestOp(request_range=rpc.RangeRequest(key=self._key(key), keys_only=True))
                for key in expect
            ],
        )
        async with self._members.link() as link:
            try:
                done = await link.kv.Txn(request, timeout=WITHIN)
            except grpc.aio.AioRpcError as error:
                raise self._refused(link, error, len(changes)) from error
        if not done.succeeded:
            raise _changed(expect, [r.response_range.kvs for r in done.responses])
        self._last = Moment(done.header.revision, mark)
        return Commit(done.header.revision, dict(changes), mark)

    def _unchanged(self, key: str, at: int) -> rpc.Compare:
        return rpc.Compare(
            result=rpc.Compare.EQUAL,
            target=rpc.Compare.MOD,
            key=self._key(key),
            mod_revision=at,
        )

    def _written(self, key: str, value: bytes | None) -> rpc.RequestOp:
        if value is None:
            gone = rpc.DeleteRangeRequest(key=self._key(key))
            return rpc.RequestOp(request_delete_range=gone)
        return rpc.RequestOp(request_put=rpc.PutRequest(key=self._key(key), value=value))

    def _refused(self, link: Link, error: grpc.aio.AioRpcError, size: int) -> Exception:
        too_much = str(error.details()).startswith("grpc: received message larger")
        if too_much or error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return Invalid(
                f"a change of {size} records at once is refused by etcd: {error.details()}",
                "see its options --max-txn-ops and --max-request-bytes",
            )
        self._members.fail(link)
        return unavailable([link.told(error), "it is not known whether the change was made"])

    # Watching

    async def watch(self, since: Moment) -> AsyncGenerator[Commit, None]:
        """What breaks is taken up again, at the next member; where none answers: `Unavailable`."""
        refusals: list[str] = []
        while len(refusals) <= len(self._members):
            async with self._members.link() as link, aclosing(self._stream(link, since)) as stream:
                try:
                    async for commit in stream:
                        refusals, since = [], commit.moment
                        yield commit
                except (grpc.aio.AioRpcError, TimeoutError) as error:
                    self._members.fail(link)
                    refusals.append(link.told(error))
        raise unavailable(refusals)

    async def _stream(self, link: Link, since: Moment) -> AsyncGenerator[Commit, None]:
        """The watch first, then the question whether it is the same store: none comes between."""
        create = rpc.WatchCreateRequest(
            key=self._first, range_end=self._end, start_revision=since.revision + 1
        )
        call = link.watches.Watch(metadata=_LEADER)
        try:
            async with asyncio.timeout(WITHIN):
                await call.write(rpc.WatchRequest(create_request=create))
                await call.read()
            await self._compare(link, since)
            if self._last.revision > since.revision:  # done, but not told yet
                last, self._last = self._last, Moment(0)
                await self._compare(link, last)
            yield Commit(since.revision, {}, since.mark)
            while True:
                events = _events(await call.read(), since)
                for commit in self._commits(events, since.mark):
                    yield commit
                    since = commit.moment
        finally:
            call.cancel()

    async def _compare(self, link: Link, since: Moment) -> None:
        if since.revision < 1:
            raise Missed("there was no store before its first revision", "load again")
        request = rpc.RangeRequest(key=self._key(_HEAD), revision=since.revision)
        found = await _read(link, request, WITHIN)
        if since.mark != "".join(kv.value.decode() for kv in found.kvs):
            raise Missed(f"revision {since.revision} of the store is another one", "load again")

    def _commits(self, events: Iterable[rpc.Event], mark: str) -> Iterator[Commit]:
        """All events of a revision come in one answer."""
        for revision, group in groupby(events, lambda event: event.kv.mod_revision):
            changes: dict[str, bytes | None] = {}
            for event in group:
                key = event.kv.key.decode()[len(self._prefix) :]
                changes[key] = None if event.type == rpc.Event.DELETE else event.kv.value
            if head := changes.pop(_HEAD, None):
                mark = head.decode()
            yield Commit(revision, changes, mark)

    async def close(self) -> None:
        await self._members.close()


async def _read(link: Link, request: rpc.RangeRequest, within: float) -> rpc.RangeResponse:
    try:
        return await link.kv.Range(request, timeout=within)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.OUT_OF_RANGE:  # compacted, or of the future
            raise Missed(str(error.details()), "load again") from error
        raise


def _events(answer: rpc.WatchResponse, since: Moment) -> Iterable[rpc.Event]:
    if answer is grpc.aio.EOF:
        raise TimeoutError
    if answer.canceled:
        raise Missed(f"the watch from {since.revision} ended: {answer.cancel_reason}", "load again")
    events: Iterable[rpc.Event] = answer.events
    return events


def _changed(expect: Mapping[str, int], found: Sequence[Sequence[rpc.KeyValue]]) -> Changed:
    at = [kvs[0].mod_revision if kvs else 0 for kvs in found]
    key = next(k for (k, e), is_ in zip(expect.items(), at, strict=True) if e != is_)
    return Changed(f"'{key}' was changed by somebody else", "try again")
