"""Topologies of a lab, and what its wire is told."""

from __future__ import annotations

import pytest

from seaway.errors import Invalid, NotFound
from seaway.lab import links
from seaway.lab.links import Link

HOSTS = ["host1", "host2", "host3", "host4"]


def pairs(topology, hosts=HOSTS):
    return {f"{one[-1]}{other[-1]}" for one, other in links.laid_out(str(topology), hosts)}


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        ("mesh", {"12", "13", "14", "23", "24", "34"}),
        ("line", {"12", "23", "34"}),
        ("star", {"12", "13", "14"}),
        ("sites", {"12", "34", "13"}),
    ],
)
def test_a_topology_says_who_sees_whom(topology, expected):
    assert expected == pairs(topology)
    assert set() == pairs(topology, ["host1"])


def test_a_file_says_it_link_by_link(tmp_path):
    file = tmp_path / "ring"
    file.write_text("host2 host1 delay=5 loss=1\nhost2 host3  # plain\n\nhost3 host4 rate=10\n")
    found = links.laid_out(str(file), HOSTS)

    expected = [
        "host1 - host2, up, loss 1 %, delay 5 ms",
        "host2 - host3, up",
        "host3 - host4, up, rate 10 Mbit/s",
    ]
    assert expected == [str(link) for link in found.values()]


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [
        ("host1", Invalid, "a link has two ends"),
        ("host1 host1", Invalid, "no link to itself"),
        ("host1 host9", NotFound, "no host 'host9'"),
        ("host1 host2 colour=blue", Invalid, "a link has no 'colour'"),
        ("host1 host2 up=1", Invalid, "a link has no 'up'"),
        ("host1 host2 loss=101", Invalid, "expected 0 to 100 percent"),
        ("host1 host2 delay=-1", Invalid, "expected 0 to 10000 ms"),
        ("host1 host2 rate=fast", Invalid, "'fast' is no rate"),
        ("host1 host2 delay=nan", Invalid, "'nan' is no delay"),
        ("host1 host2 delay", Invalid, "delay wants a value (expected 0 to 10000 ms)"),
    ],
)
def test_a_bad_file_is_told(tmp_path, line, kind, told):
    (tmp_path / "bad").write_text(f"host1 host2\n{line}")

    with pytest.raises(kind) as caught:
        links.laid_out(str(tmp_path / "bad"), HOSTS)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/bad:2: ")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "there is no link in "),
        (b"# a ring\n", "there is no link in "),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_file_without_links_is_told(tmp_path, data, told):
    (tmp_path / "empty").write_bytes(data)
    with pytest.raises(Invalid, match=told):
        links.laid_out(str(tmp_path / "empty"), HOSTS)


def test_a_value_that_would_not_be_used_is_refused():
    link = Link(hosts=("host1", "host2"))
    for quality in ("up", "down"):
        with pytest.raises(Invalid, match=f"a link that goes {quality} takes no value"):
            links.changed(link, quality, "4")


def test_a_topology_that_is_neither_known_nor_a_file_is_told():
    with pytest.raises(Invalid, match="one of mesh, line, star, sites, or a file"):
        links.laid_out("ring", HOSTS)


def test_the_wire_passes_nothing_between_hosts_without_a_link():
    told = links.rules(["a", "b", "c"], {("a", "b"): Link(hosts=("a", "b"), loss=0.5, rate=8)})

    assert 'vmap { "a" . "c" : drop, "c" . "a" : drop, "b" . "c" : drop, "c" . "b" : drop }' in told
    assert 'iifname "a" oifname "b" numgen random mod 10000 <= 49 drop' in told
    assert 'iifname "b" oifname "a" limit rate over 1000 kbytes/second' in told


def test_what_is_late_or_down_the_bridge_does_not_carry():
    for link in (Link(hosts=("a", "b"), delay=3), Link(hosts=("a", "b"), up=False)):
        assert '"a" . "b" : drop' in links.rules(["a", "b"], {link.hosts: link})
