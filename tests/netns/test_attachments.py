"""Programs on devices: put there before the first packet, kept there, swapped under traffic.

┌── anna ──┐      ┌── stage ──┐      ┌── bert ──┐
│     eth0 ┼─veth─┼ swy1 swy2 ┼─veth─┼ eth0     │
└──────────┘      └───────────┘      └──────────┘
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builds import OTHER_CODE, OTHER_LAYOUT
from dataplane import Container, Host, attached, hosts
from namespaces import Netns
from seaway.bpf import syscall, tcx
from seaway.bpf.objects import OBJECTS, Program
from seaway.model.kernel import HOOKS, Attachment
from seaway.names import LINK_PREFIX
from waiting import wait

PORT = 7001
LINKS = Path("/sys/fs/bpf/seaway/links")
WAYS = ["cls_bpf", "tcx", "promoted"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def host(way: str) -> Iterator[Host]:
    with hosts() as raise_host:
        yield raise_host(way)


@pytest.fixture
def anna(host: Host, way: str, make_netns: Callable[[], Netns]) -> Container:
    made = host.add(make_netns(), 1)
    if way == "promoted":
        host.promote()
    return made


@pytest.fixture
def bert(host: Host, way: str, make_netns: Callable[[], Netns]) -> Container:
    made = host.add(make_netns(), 2)
    if way == "promoted":
        host.promote()
    return made


def read(host: Host) -> dict[tuple[str, str], Attachment]:
    """What is told of all, and the same of a few keys alone."""
    found = host.place.run(host.attachments.read)
    living = {key: value for key, value in found.items() if value.ifindex}
    keys = {(device, hook) for device, _ in living for hook in HOOKS}
    assert living == host.place.run(host.attachments.look, keys)
    return found


def pins(host: Host) -> set[str]:
    return names(host, LINKS)


def names(host: Host, folder: Path) -> set[str]:
    return host.place.run(lambda: {path.name for path in folder.iterdir()})


def test_what_was_put_is_read_back_and_may_be_put_again(host, anna):
    wanted = attached(anna)
    for _ in range(2):
        assert wanted == read(host)
        host.attach(anna)


def test_a_device_is_down_until_both_programs_are_there(host, make_netns):
    set_up = host.attachments._set_up
    seen = []

    def watch(ifindex: int) -> None:
        seen.append([host.attachments._running(ifindex, hook) for hook in HOOKS])
        set_up(ifindex)

    host.attachments._set_up = watch
    host.add(make_netns(), 1)
    programs = host.plane.programs

    assert [[programs["from_endpoint"].id, programs["to_endpoint"].id]] == seen


def test_one_hook_alone_does_not_set_a_device_up(host, anna):
    host.place.shell(f"ip link set {anna.link} down")
    strip(host, anna)
    one = {k: v for k, v in attached(anna).items() if k[1] == "ingress"}
    host.place.run(host.attachments.put, one)

    assert {} == read(host)
    host.attach(anna)
    assert attached(anna) == read(host)


def strip(host: Host, container: Container) -> None:
    """As somebody does it by hand, whatever holds the programs."""

    def work() -> None:
        for pin in LINKS.iterdir():
            descriptor = syscall.pinned(pin)
            syscall.link_detach(descriptor)
            os.close(descriptor)

    host.place.run(work)
    if "clsact" in host.place.shell(f"tc qdisc show dev {container.link}"):
        host.place.shell(f"tc qdisc del dev {container.link} clsact")


def test_a_device_that_was_stripped_gets_its_programs_again(host, anna):
    strip(host, anna)
    assert {} == host.place.run(host.attachments.look, attached(anna))
    assert {} == read(host)
    host.attach(anna)

    assert attached(anna) == read(host)


def test_a_device_that_was_set_down_is_set_up_again(host, anna):
    host.place.shell(f"ip link set {anna.link} down")
    assert {} == read(host)
    host.attach(anna)

    assert attached(anna) == read(host)


@pytest.mark.parametrize("way", ["tcx", "promoted"])  # filters have no pins
def test_a_removed_pin_takes_the_link_along_and_both_come_again(host, anna):
    host.place.run((LINKS / f"{anna.link}-egress").unlink)
    assert wait(lambda: {(anna.link, "ingress")} == set(read(host)))
    host.attach(anna)
    host.promote()

    assert attached(anna) == read(host)


def test_another_program_in_the_place_of_ours_is_found_and_replaced(host, anna):
    wrong = Attachment(anna.link, anna.ifindex, "ingress", "to_endpoint")
    host.place.run(host.attachments.put, {(anna.link, "ingress"): wrong})
    assert wrong == read(host)[anna.link, "ingress"]
    host.attach(anna)

    assert attached(anna) == read(host)


def test_a_link_of_others_before_ours_is_found_and_ours_goes_first(host, anna):
    if not host.place.run(tcx.available):
        pytest.skip("this kernel has no TCX")
    foreign = host.plane.programs["to_endpoint"].fd
    link = host.place.run(syscall.link_create, foreign, anna.ifindex, "ingress")
    assert attached(anna) != read(host)
    host.attach(anna)

    assert attached(anna) == read(host)
    os.close(link)
    assert attached(anna) == read(host)


class RefusingLinks(tcx.Links):
    """Whose kernel takes no new link."""

    def attach(self, device: str, ifindex: int, hook: str, program: Program) -> None:
        if not self.swap(device, ifindex, hook, program):
            self._release(device, hook)
            raise OSError(errno.ENOMEM, "no memory for a link")


@pytest.mark.parametrize("way", ["tcx", "promoted"])
def test_ours_runs_on_where_it_cannot_be_put_first(host, anna):
    links, ours = host.attachments._links, host.plane.programs["from_endpoint"]
    foreign = host.plane.programs["to_endpoint"].fd
    stranger = host.place.run(syscall.link_create, foreign, anna.ifindex, "ingress")
    host.attachments._links = host.place.run(RefusingLinks, LINKS)
    failed = host.place.run(host.attachments.put, attached(anna))

    assert {(anna.link, "ingress"): errno.ENOMEM} == {k: e.errno for k, e in failed.items()}
    assert ours.id == host.place.run(host.attachments._filters.program, anna.ifindex, "ingress")

    host.attachments._links = links
    host.attach(anna)
    assert attached(anna) == read(host)
    assert "bpf" not in host.place.shell(f"tc filter show dev {anna.link} ingress")
    os.close(stranger)


@pytest.mark.parametrize("way", ["auto", "cls_bpf"])  # links run before any filter
@pytest.mark.parametrize("hook", HOOKS)
def test_a_filter_of_others_in_the_place_of_ours_is_found_and_removed(host, anna, hook, tmp_path):
    """The latest of one priority runs first."""
    code, place = tmp_path / "returns", f"dev {anna.link} {hook}"
    code.write_text("1,6 0 0 0,")
    add = f"tc filter add {place} prio 1 protocol all handle 7 bpf bytecode-file {code}"
    assert attached(anna) == read(host)
    host.place.shell(add)
    assert "filter with handle 7" == read(host)[anna.link, hook].program
    host.attach(anna)

    assert attached(anna) == read(host)
    assert "handle 0x7" not in host.place.shell(f"tc filter show {place}")


def test_a_device_keeps_its_programs_while_it_lives(host, anna):
    failed = host.place.run(host.attachments.delete, set(attached(anna)))

    assert {errno.EBUSY} == {error.errno for error in failed.values()}
    assert attached(anna) == read(host)


def test_nothing_is_left_of_a_device_that_is_gone(host, anna):
    host.place.run(host.links.delete, {anna.link})
    left = read(host)
    assert {k: v.ifindex for k, v in left.items()} == dict.fromkeys(left, 0)
    for _ in range(2):
        assert {} == host.place.run(host.attachments.delete, set(attached(anna)))

    assert {} == read(host)
    assert set() == pins(host)


def test_a_name_that_comes_again_is_another_device(host, anna, make_netns):
    """Its pins, if any were left behind, are of no use."""
    host.place.run(host.links.delete, {anna.link})
    host.containers.clear()
    again = host.add(make_netns(), 1)

    assert anna.ifindex != again.ifindex
    assert attached(again) == read(host)


def test_a_device_that_is_gone_fails_alone(host, anna):
    ghost = Attachment("swyf", 9999, "ingress", "from_endpoint")
    failed = host.place.run(host.attachments.put, {("swyf", "ingress"): ghost, **attached(anna)})

    assert {("swyf", "ingress"): errno.ENODEV} == {k: e.errno for k, e in failed.items()}
    assert attached(anna) == read(host)


def test_devices_of_others_are_not_touched(host, anna):
    host.place.shell(
        f"ip link add other type veth peer name {LINK_PREFIX[:2]}z; ip link set other up; "
        "tc qdisc add dev other clsact"
    )
    host.attach(anna)

    assert attached(anna) == read(host)
    assert "clsact" in host.place.shell("tc qdisc show dev other")


def test_filters_of_others_survive_the_move_to_links(make_netns):
    with hosts() as raise_host:
        host = raise_host("promoted")
        anna = host.add(make_netns(), 1)
        host.place.shell(
            f"tc filter add dev {anna.link} egress prio 99 protocol ip u32 match u32 0 0"
        )
        host.promote()

        assert "u32" in host.place.shell(f"tc filter show dev {anna.link} egress")
        assert "bpf" not in host.place.shell(f"tc filter show dev {anna.link} egress")
        assert {f"{anna.link}-ingress", f"{anna.link}-egress"} == pins(host)


def test_a_move_that_was_cut_short_is_finished_by_the_next_agent(make_netns):
    """Killed when the links were there and the filters were there still."""
    with hosts() as raise_host:
        host = raise_host("promoted")
        anna = host.add(make_netns(), 1)
        host.promote()
        for hook, program in HOOKS.items():
            left = {hook: host.plane.programs[program]}
            assert {} == host.place.run(host.attachments._filters.attach, anna.ifindex, left)
        host.upgrade(OBJECTS)
        assert attached(anna) == read(host)
        host.promote()

        assert "clsact" not in host.place.shell(f"tc qdisc show dev {anna.link}")
        assert attached(anna) == read(host)


@pytest.mark.parametrize("what", ["put", "delete"])
def test_a_change_of_a_device_that_is_moved_waits_for_the_end(make_netns, what):
    with hosts() as raise_host:
        host = raise_host("promoted")
        anna, bert = host.add(make_netns(), 1), host.add(make_netns(), 2)
        promotion, links = host.attachments.promotion, host.attachments._links
        attach, failed, waited = links.attach, {}, []

        def change() -> None:
            given = attached(anna) if what == "put" else set(attached(anna))
            failed.update(getattr(host.attachments, what)(given))

        def attach_while_it_is_changed(*given: object) -> None:
            attach(*given)
            if what == "delete":
                host.links.delete({anna.link})
            host.attachments.put(attached(bert))  # of others: goes on
            changing.start()
            changing.join(0.2)
            waited.append(changing.is_alive())
            links.attach = attach

        def move() -> None:
            links.attach = attach_while_it_is_changed
            promotion.move(promotion.choose())
            changing.join(60)

        changing = threading.Thread(target=change)
        host.place.run(move)

        assert ([True], {}) == (waited, failed)
        left = {} if what == "delete" else attached(anna)
        assert left == {k: v for k, v in read(host).items() if k[0] == anna.link}


def test_a_young_device_stays_with_filters(make_netns):
    with hosts() as raise_host:
        host = raise_host("auto")
        anna = host.add(make_netns(), 1)

        assert host.attachments.promotion.choose() is None
        assert set() == pins(host)
        assert "clsact" in host.place.shell(f"tc qdisc show dev {anna.link}")


class Traffic:
    """Questions and answers between two containers, counted, until it is stopped. Lost is what is
    not back after a time that no slow machine needs.
    """

    def __init__(self, client: Container, server: Container) -> None:
        self._stop = threading.Event()
        self._server = server.socket(4, socket.SOCK_DGRAM)
        self._server.bind((server.address(4), PORT))
        self._client = client.socket(4, socket.SOCK_DGRAM)
        self._client.connect((server.address(4), PORT))
        self._server.settimeout(60)
        self._threads = [threading.Thread(target=f) for f in (self._answer, self._ask)]
        self.asked = self.lost = 0
        for thread in self._threads:
            thread.start()

    def _answer(self) -> None:
        while True:
            question, sender = self._server.recvfrom(100)
            self._server.sendto(question, sender)
            if question == b"end":
                return

    def _ask(self) -> None:
        while not self._stop.is_set():
            self.asked += 1
            self._client.send(b"x")
            try:
                self._client.recv(100)
            except TimeoutError:
                self.lost += 1
        self._client.send(b"end")

    def moves(self, packets: int = 200) -> bool:
        """Wait until it has gone on for a while."""
        end = self.asked + packets
        return wait(lambda: self.asked >= end)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        self._server.close()
        self._client.close()


@pytest.mark.parametrize(
    "change",
    # Of other code tests/e2e/test_upgrade.py has whole agents take over, in each way.
    [pytest.param(OTHER_CODE, marks=pytest.mark.soak), OTHER_LAYOUT],
    ids=["code", "layout"],
)
def test_another_build_takes_over_under_traffic(host, anna, bert, built, change):
    before = {program.tag for program in host.plane.programs.values()}, host.plane.layout
    traffic = Traffic(anna, bert)
    try:
        assert traffic.moves()
        host.upgrade(built(change, OTHER_CODE if change is OTHER_LAYOUT else {}))
        assert traffic.moves()
        host.upgrade(OBJECTS)
        assert traffic.moves()
    finally:
        traffic.close()

    assert 0 == traffic.lost
    assert before == ({program.tag for program in host.plane.programs.values()}, host.plane.layout)
    assert attached(anna) | attached(bert) == read(host)
    assert {host.plane.layout, "links", "state"} == names(host, LINKS.parent)


def test_the_move_to_links_loses_no_packet(make_netns):
    with hosts() as raise_host:
        host = raise_host("promoted")
        anna, bert = host.add(make_netns(), 1), host.add(make_netns(), 2)
        traffic = Traffic(anna, bert)
        try:
            assert traffic.moves()
            host.promote()
            assert traffic.moves()
        finally:
            traffic.close()

        assert 0 == traffic.lost
        assert 4 == len(pins(host))
