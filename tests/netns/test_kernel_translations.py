"""Ports that rules of others lead elsewhere, in a namespace of its own, by their own programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from namespaces import Netns, namespaces
from seaway.kernel.translations import Translations

CONTAINER = "f00dcafe"
DOCKER = """
{0} -t nat -N DOCKER
{0} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
{0} -t nat -A DOCKER -i docker0 -j RETURN
{0} -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
"""
PORTMAP = f"""
{{0}} -t nat -N CNI-HOSTPORT-DNAT
{{0}} -t nat -N CNI-DN-1
{{0}} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
{{0}} -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "id:{CONTAINER}" \
-m multiport --dports 8080,9000 -j CNI-DN-1
{{0}} -t nat -A CNI-DN-1 -p tcp --dport 8080 -j DNAT --to-destination 10.88.0.5:80
"""
REDIRECT = (
    "{0} -t nat -A PREROUTING -d 192.0.2.1 -p udp --dport 5300:5309 -j REDIRECT --to-ports 53"
)
NFT = """nft -f - <<'END'
table inet mine {{
	chain pre {{
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump published
	}}
	chain published {{
		tcp dport {{ 8080, 9000-9009 }} dnat ip to 10.0.0.5:80
		ip daddr 192.0.2.1 udp dport 53 redirect to :5300
	}}
}}
END"""
OTHERS = """
{0} -t nat -A PREROUTING -d 198.51.100.7 -j DNAT --to-destination 10.0.0.7
{0} -t nat -A PREROUTING -p tcp ! --dport 8080 -j REDIRECT --to-ports 3128
{0} -t nat -A PREROUTING -p tcp --dport 8080 -j ACCEPT
{0} -t nat -A POSTROUTING -p tcp --dport 8080 -j MASQUERADE
{0} -t nat -A OUTPUT -p tcp --dport 8080 -j REDIRECT --to-ports 80
"""
WEB, DNS = ("tcp", 8080), ("udp", 5305)


@pytest.fixture
def host() -> Iterator[Netns]:
    with namespaces() as make:
        yield make()


@pytest.fixture
def translations(host: Netns) -> Iterator[Translations]:
    made = Translations(host.path)
    yield made
    made.close()


def told(translations: Translations, *places: tuple[str, int]) -> list[tuple[str, int, str, str]]:
    found = translations.held(places)
    return [(h.protocol, h.port, str(h.address), h.holder) for h in found]


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize(
    "case",
    [
        (DOCKER, WEB, "0.0.0.0", "DOCKER"),
        (PORTMAP, WEB, "0.0.0.0", "CNI-DN-1"),
        (REDIRECT, DNS, "192.0.2.1", "PREROUTING"),
    ],
)
def test_a_port_that_iptables_leads_elsewhere_is_told(host, translations, program, case):
    rules, place, address, chain = case
    assert [] == told(translations, place)
    host.run("sh -e", rules.format(program))
    assert [(*place, address, f"a rule of chain {chain} ({program})")] == told(translations, place)
    assert [] == told(translations, ("udp", 8080), ("tcp", 8081))


def test_a_port_that_nftables_leads_elsewhere_is_told_in_each_family(host, translations):
    host.run("sh -e", NFT.format())
    chain = "a rule of chain published (nft inet mine)"

    every = [("tcp", 8080, "0.0.0.0", chain), ("tcp", 8080, "::", chain)]
    assert every == told(translations, WEB)
    assert 2 == len(told(translations, ("tcp", 9005)))
    assert ("udp", 53, "192.0.2.1", chain) in told(translations, ("udp", 53))


def test_ipv6_is_told_as_such(host, translations):
    host.run(
        "sh -e", "ip6tables-nft -t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 80"
    )

    assert ["::"] == [str(held.address) for held in translations.held([WEB])]


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_what_leads_no_port_of_the_host_elsewhere_is_not_told(host, translations, program):
    host.run("sh -e", OTHERS.format(program))

    assert [] == told(translations, WEB)


def test_what_leads_to_the_container_itself_is_free_for_it(host, translations):
    host.run("sh -e", PORTMAP.format("iptables-nft"))

    assert [] == translations.held([WEB], CONTAINER)
    assert 1 == len(translations.held([WEB], "another"))
