"""Services on the command line: what is printed, and what of bad input is said.

click ── client ── unix socket ── aiohttp ── intents ── a fake kernel
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from tests.serving import Served, served

from seaway.cli.root import root
from seaway.cli.service import left_of
from seaway.client import Client
from seaway.model import codec
from seaway.model.addresses import mapped
from seaway.model.reports import BackendDrain
from seaway.model.trace import TraceReport
from seaway.setup import health

Seaway = Callable[..., str]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Served]:
    """An agent that answers, on a host with two namespaces."""
    with served(tmp_path) as running:
        running.agent.host.namespaces |= {"/run/netns/blue": 7, "/run/netns/green": 8}
        yield running


@pytest.fixture
def seaway(host: Served) -> Seaway:
    """Runs a command, which ends with the expected status; what it printed, or its complaint."""

    def run(*words: str, status: int = 0, given: str = "") -> str:
        result = CliRunner().invoke(root, ["--socket", str(host.socket), *words], input=given)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert status == result.exit_code, result.stderr
        return result.stderr if status > 1 else result.stdout

    return run


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"connections": 1}, "1 connection to blue"),
        ({"connections": 0, "unheard": ("h2",)}, "0 connections to blue; not to be asked: h2"),
        (
            {"connections": 2, "unheard": ("h2",), "unaware": ("h1", "h3")},
            "2 connections to blue; not to be asked: h2; not heard of it yet: h1, h3",
        ),
    ],
)
def test_what_a_drain_waits_for_is_told(given: dict[str, Any], told: str) -> None:
    found = BackendDrain(service="n/web", backend="blue", host="h", draining=True, **given)
    assert told == left_of(found)
    assert not found.ready


def test_a_drain_waits_for_connections_and_says_how_many_there_are(
    host: Served, seaway: Seaway
) -> None:
    seaway("service", "create", "web", "--selector", "app=web", "--port", "80")
    seaway("attach", "blue", "--label", "app=web")
    address = json.loads(seaway("endpoint", "inspect", "blue", "-o", "json"))["endpoint"]
    place = mapped(ip_interface(address["addresses"][0]).ip)
    host.agent.host.served[place] = 3
    drain = ("service", "drain", "web", "blue")
    said = seaway(*drain, "--within", "0s", status=7)
    assert "endpoint blue drains: 3 connections to blue" in said
    assert "ready, draining" in seaway("endpoint", "inspect", "blue")
    host.agent.host.served.clear()
    assert "endpoint blue may go\n" == seaway(*drain)
    assert "endpoint blue gets connections again\n" == seaway(*drain, "--undo")


def test_a_service_is_made_listed_inspected_changed_and_removed(seaway: Seaway) -> None:
    assert "service default/web: 10.223.0.7\n" == seaway(
        *("service", "create", "web", "--address", "10.223.0.7", "--family", "4"),
        *("--selector", "app=web", "--port", "80:http,", "--prefer", "zone", "--affinity", "1m"),
    )
    seaway("attach", "blue", "--label", "app=web", "--port-name", "http=8080", "--weight", "3")
    seaway("attach", "green", "--label", "app=web")

    assert [
        ["NETWORK", "NAME", "ADDRESSES", "PORTS", "PUBLISHED", "BACKENDS", "SELECTOR"],
        ["default", "web", "10.223.0.7", "80:http/tcp", "1", "of", "2", "app=web"],
    ] == rows(seaway("service", "ls"))
    told = seaway("service", "inspect", "web")
    assert "distribution     PreferSameZone" in told
    assert ["PORT", "BACKEND", "TARGET", "NAME", "HOST", "WEIGHT", "CHOSEN", "WHY"] in rows(told)
    assert "80/tcp  10.208.0.1  8080    blue   h     3       yes     it is ready" in told
    assert "no      it has no port 'http' of tcp" in told
    found = json.loads(seaway("service", "inspect", "default/web", "-o", "json"))
    assert [True, False] == [b["chosen"] for b in found["backends"]]

    seaway("endpoint", "update", "blue", "--not-ready", "--port-name", "http=8081")
    assert "is         not ready" in seaway("endpoint", "inspect", "blue")
    assert "8081" in seaway("service", "inspect", "web")
    assert "endpoint default/blue is changed\n" == seaway("endpoint", "update", "blue", "--ready")
    assert "host h is in zone a\n" == seaway("host", "update", "h", "--zone", "a")

    changed = seaway(
        *("service", "update", "web", "--port", "80:9", "--drain", "2m"),
        *("--check", "http:/ready,interval=5s"),
    )
    assert "service default/web is changed\n" == changed
    (listed,) = yaml.safe_load(seaway("service", "ls", "--network", "default", "-o", "yaml"))
    assert (2, 120.0) == (listed["chosen"], listed["service"]["drain"])
    told = seaway("service", "inspect", "web")
    assert "check            http:/ready,interval=5s" in told
    assert "affinity         60 s" in told
    seaway("service", "update", "web", "--check", "none", "--affinity", "none")
    assert "affinity         none" in seaway("service", "inspect", "web")
    assert "check            none" in seaway("service", "inspect", "web")
    assert "service web is removed\n" == seaway("service", "rm", "web")
    assert [] == json.loads(seaway("service", "ls", "-o", "json"))


def test_ports_are_published_kept_moved_and_taken_back(seaway: Seaway) -> None:
    seaway(
        *("service", "create", "web", "-p", "http=80:8080,dns=53/udp", "--publish", "8080:http"),
        *("--external-policy", "Local", "--health-port", "30100", "--algorithm", "maglev"),
    )
    assert "8080:80/tcp" in seaway("service", "ls")
    told = seaway("service", "inspect", "web")
    for line in (
        "published        8080:80/tcp",
        "external policy  Local",
        "health port      30100",
        "algorithm        maglev",
    ):
        assert line in told
    assert "service 'web' of network 'default'" in seaway(
        *("service", "create", "b", "-p", "80", "--publish", "8080:80"), status=4
    )

    def published() -> list[int]:
        found = json.loads(seaway("service", "inspect", "web", "-o", "json"))
        return [port["node_port"] for port in found["service"]["ports"]]

    seaway("service", "update", "web", "-p", "more=81,http=80:9090")
    assert [0, 8080] == published()
    seaway("service", "update", "web", "--publish", "more", "--publish", "8080:80/tcp")
    given, had = published()
    assert (True, 8080) == (30000 <= given <= 32767, had)
    manifest = seaway("get", "-o", "yaml")
    assert "nodePort: 8080" in manifest
    assert "unchanged" in seaway("apply", "-f", "-", given=manifest)
    seaway(
        *("service", "update", "web", "--publish", "none", "--external-policy", "Cluster"),
        *("--health-port", "0", "--algorithm", "random"),
    )
    assert [0, 0] == published()
    assert "external policy  none" in seaway("service", "inspect", "web")


def test_services_without_addresses_say_what_they_are(seaway: Seaway) -> None:
    assert "service default/a: headless\n" == seaway("service", "create", "a", "--headless")
    assert "service default/b: mx.example.org\n" == seaway(
        "service", "create", "b", "--external-name", "mx.example.org"
    )
    made = json.loads(seaway("service", "create", "c", "-p", "80", "-o", "json"))
    assert ["no slice names a backend"] == made["warnings"]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("service create web", 2, "service 'web' has no port (give one, e.g. 80:8080/tcp"),
        ("service create web -p 80:", 2, "'80:' is no port of a service (expected [NAME=]PORT"),
        ("service create web -p 0", 2, "port 0 of a service is out of range (expected 1 to 65535"),
        ("service create web -p 80/sctp", 2, "SCTP is not offered for services"),
        ("service create web -p 80 -l app", 2, "'app' is no label (expected KEY=VALUE)"),
        ("service create web -p 80 --address x", 2, "'x' is no IP address"),
        ("service create web -p 80 --address 192.0.2.1", 2, "not in a service subnet of this clu"),
        ("service create web -p 80 --network no", 3, "there is no network 'no' (known: default)"),
        ("service create web -p 80 --drain soon", 2, "'soon' is no span of time"),
        ("service create web -p 80 -l a=b --check udp", 2, "'udp' is no check (expected tcp or h"),
        ("service create web -p 80 --check tcp", 2, "service 'web' has no selector, and its check"),
        (
            "service create web -p 80 --publish 0:80",
            2,
            "port 0 is out of range, and no host has it",
        ),
        (
            "service create web -p 80 --publish 9:90",
            2,
            "the service has no port '90' to be publishe",
        ),
        ("service create web -p 80 --publish x:80", 2, "'x:80' publishes no port of a service"),
        (
            "service create web --headless -p 80 --publish 80",
            2,
            "headless: no port of a host leads",
        ),
        ("service create web -p 80 --health-port 9", 2, "not the external policy Local"),
        ("service create web -p 80 --external-policy Local", 2, "has an external policy, which is"),
        ("service create web -p 80 --algorithm maglev", 2, "has algorithm maglev, which is one of"),
        ("service create web -p 80 --publish 8480:80", 4, "taken by Seaway itself, for the agents"),
        ("service create web -p 80 --prefer far", 2, "Invalid value for '--prefer'"),
        ("service inspect web", 3, "there is no service 'web' (see: seaway service ls)"),
        ("service rm web", 3, "there is no service 'web'"),
        ("service update web", 2, "nothing to change was given"),
        ("service update web -p 80", 3, "there is no service 'web'"),
        ("attach blue --port-name http", 2, "'http' names no port (expected NAME=PORT"),
        ("attach blue --port-name Http=1", 2, "'Http' is no name of a port of an endpoint"),
        ("attach blue --port-name http=99999", 2, "port 99999 of 'http' is out of range"),
        ("attach blue --weight 65536", 2, "weight 65536 is out of range (expected 0 to 65535)"),
        ("endpoint update blue", 2, "nothing to change was given"),
        ("endpoint update blue --ready", 3, "there is no endpoint 'blue'"),
        ("host update h --zone a/b", 2, "'a/b' is no zone"),
        ("host update other --zone a", 3, "there is no host 'other'"),
        ("apply", 2, "Missing option '-f' / '--file'"),
        ("apply -f /nowhere", 2, "file '/nowhere' cannot be read: No such file or directory"),
        ("apply -f /", 2, "file '/' cannot be read: Is a directory"),
        ("apply -f -", 2, "there is no object in it"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line_and_changes_nothing(
    host: Served, seaway: Seaway, words: str, status: int, told: str
) -> None:
    before: Any = host.state()
    complaint = seaway(*words.split(), status=status)

    assert told in complaint
    assert 1 == complaint.count("\n")
    assert before == host.state()


SHOP = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.223.0.7, ipFamilies: [IPv4], ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [192.0.2.1]}]
"""


def test_a_file_is_applied_shown_applied_again_and_deleted(seaway: Seaway, tmp_path: Path) -> None:
    shop = tmp_path / "shop.yaml"
    shop.write_text(SHOP)
    assert [
        ["KIND", "NAME", "DID"],
        ["Service", "default/web", "created"],
        ["EndpointSlice", "default/web-1", "created"],
    ] == rows(seaway("apply", "-f", str(shop)))
    assert [
        ["KIND", "NAME", "ADDRESSES"],
        ["Service", "default/web", "10.223.0.7"],
        ["EndpointSlice", "default/web-1", "192.0.2.1"],
    ] == rows(seaway("get"))

    shown = seaway("get", "-f", str(shop), "-o", "yaml")
    again = json.loads(seaway("apply", "-f", "-", "-o", "json", given=shown))
    assert ["unchanged", "unchanged"] == [outcome["did"] for outcome in again]
    gone = json.loads(seaway("delete", "-f", str(shop), "-o", "json"))
    assert ["removed", "removed"] == [outcome["did"] for outcome in gone]
    assert "there is no service 'default/web'" in seaway("delete", "-f", str(shop), status=3)
    assert [] == json.loads(seaway("get", "-o", "json"))["items"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("targetPort", "targetPrt", "document 1: unknown field 'spec.ports[0].targetPrt'"),
        ("kind: Service", "kind: Ingress", "kind 'Ingress' of 'v1' is not served"),
        ("192.0.2.1", "10.223.0.7", "10.223.0.7 is a virtual address of services"),
        ("192.0.2.1", "127.0.0.1", "document 2: 127.0.0.1 is a loopback address"),
        ("port: 80,", "port: 0,", "document 1: port 0 of a service is out of range"),
        ("clusterIP: 10", "type: LoadBalancer, clusterIP: 10", "'spec.type: LoadBalancer' is not"),
    ],
)
def test_of_a_file_that_is_wrong_anywhere_nothing_is_done(
    host: Served, seaway: Seaway, old: str, new: str, told: str
) -> None:
    before: Any = host.state()
    complaint = seaway("apply", "-f", "-", given=SHOP.replace(old, new), status=2)

    assert told in complaint
    assert 1 == complaint.count("\n")
    assert before == host.state()


def test_limits_are_given_shown_and_taken_back(seaway: Seaway) -> None:
    limits = ("--limit-connections", "100", "--limit-rate", "20/s")
    seaway("service", "create", "web", "--selector", "app=web", "--port", "80", *limits)
    shown = seaway("service", "inspect", "web")
    assert "limits           100 connections, 20 new ones/s" in shown
    assert "from this host   0 open, refused 0 (too many open) and 0 (too fast)" in shown
    seaway("service", "update", "web", "--limit-connections", "0", "--limit-rate", "0")
    assert "limits           none" in seaway("service", "inspect", "web")

    rates = ("--ingress-rate", "50mbit", "--egress-rate", "1.5Gbit", "--egress-burst", "8mbit")
    shown = seaway("attach", "blue", *rates, "--limit-connections", "7")
    assert "bandwidth  in 50mbit/s, out 1.5gbit/s (burst 8mbit)" in shown
    assert "limits     7 connections" in shown
    seaway("endpoint", "update", "blue", "--egress-rate", "0", "--limit-rate", "5")
    shown = seaway("endpoint", "inspect", "blue")
    assert "bandwidth  in 50mbit/s\n" in shown
    assert "limits     7 connections, 5 new ones/s" in shown


def test_the_bandwidth_of_a_service_is_that_of_each_backend_and_shown_there(seaway: Seaway) -> None:
    rates = ("--ingress-rate", "50mbit", "--egress-rate", "8mbit", "--egress-burst", "1mbit")
    seaway("service", "create", "web", "--selector", "app=web", "--port", "80", *rates)
    shown = seaway("service", "inspect", "web")
    assert "bandwidth        in 50mbit/s, out 8mbit/s (burst 1mbit), each backend" in shown
    (listed,) = yaml.safe_load(seaway("service", "ls", "-o", "yaml"))
    assert [50_000_000, 1_000_000] == [
        listed["service"][name] for name in ("ingress_rate", "egress_burst")
    ]

    shown = seaway("attach", "blue", "--label", "app=web", "--ingress-rate", "20mbit")
    by = "service default/web"
    assert f"bandwidth  in 20mbit/s, out 8mbit/s (burst 1mbit, {by})\n" in shown
    assert "bandwidth  not limited\n" in seaway("attach", "green")
    seaway("service", "update", "web", "--ingress-rate", "10mbit", "--egress-rate", "0")
    assert f"bandwidth  in 10mbit/s ({by})\n" in seaway("endpoint", "inspect", "blue")
    assert "in 10mbit/s, each backend\n" in seaway("service", "inspect", "web")
    seaway("service", "update", "web", "--ingress-rate", "0")
    assert "bandwidth        not limited\n" in seaway("service", "inspect", "web")
    assert "bandwidth  in 20mbit/s\n" in seaway("endpoint", "inspect", "blue")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--ingress-rate=7kbit", "expected 8kbit to 32gbit"),
        ("--egress-rate=33gbit", "expected 8kbit to 32gbit"),
        ("--egress-rate=fast", "expected e.g. 800kbit, 50mbit, 1.5gbit"),
        ("--egress-burst=1mbit", "give a rate: --egress-rate 50mbit"),
    ],
)
def test_bandwidth_that_no_service_can_have_is_refused_in_one_line(
    host: Served, seaway: Seaway, option: str, told: str
) -> None:
    seaway("service", "create", "old", "--port", "80", "--selector", "app=old")
    before: Any = host.state()
    for words in ("create new --port 80", "update old"):
        refused = seaway("service", *words.split(), option, status=2)
        assert told in refused
        assert 1 == len(refused.splitlines())
    assert before == host.state()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--ingress-rate=7kbit", "expected 8kbit to 32gbit"),
        ("--egress-rate=fast", "expected e.g. 800kbit, 50mbit, 1.5gbit"),
        ("--egress-burst=1mbit", "give a rate: --egress-rate 50mbit"),
        ("--limit-connections=-1", "expected 1 to 1000000"),
        ("--limit-rate=20/m", "expected how many a second, e.g. 100/s"),
    ],
)
def test_limits_that_cannot_be_are_refused_in_one_line(
    seaway: Seaway, option: str, told: str
) -> None:
    refused = seaway("attach", "blue", option, status=2)
    assert told in refused
    assert 1 == len(refused.splitlines())
    assert [] == json.loads(seaway("endpoint", "ls", "-o", "json"))


def test_a_trace_shows_who_may_be_chosen_and_the_way_to_each_host(seaway: Seaway) -> None:
    create = "service", "create", "web", "--port", "80:8080", "--selector", "app=web"
    seaway(*create, "--address", "10.223.0.7", "--family", "4")
    seaway("attach", "blue", "--name", "blue")
    told = seaway("trace", "blue", "web.default.seaway:80").splitlines()
    assert "service default/web, port 80/tcp: random" in told
    assert told[-1].endswith("to default/web (10.223.0.7): dropped: refused")
    refused = seaway("trace", "blue", "web.default:80", status=3)  # to the resolver: a task's
    assert "there is no endpoint and no service 'web.default'" in refused

    seaway("attach", "green", "--name", "green", "--label", "app=web")
    report = codec.decode(seaway("trace", "blue", "web:80", "-o", "json").encode(), TraceReport)
    (step,) = report.steps
    assert step.service
    ((chosen,), (way,)) = step.service.candidates, step.service.ways
    assert ("delivered", True) == (report.verdict, chosen.chosen)
    told = seaway("trace", "blue", "10.223.0.7:80").splitlines()
    place = f"{way.address}:8080"
    assert f"to green ({place}) on {way.host}: delivered" in told
    assert ["green", way.host, place, "1", "yes", *chosen.why.split()] in map(str.split, told)
    assert told[-1].endswith("to 10.223.0.7: delivered")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--headless",), "'default/web' has no backend that is ready"),
        (("--external-name", "db.example.org"), "'default/web' stands for 'db.example.org'"),
    ],
)
def test_what_has_no_address_of_its_own_is_no_end_of_a_trace(
    seaway: Seaway, options: tuple[str, ...], complaint: str
) -> None:
    seaway("service", "create", "web", *options)
    assert complaint in seaway("trace", "world", "web:80", status=2)


def test_a_name_of_several_services_needs_its_network(seaway: Seaway) -> None:
    for network in ("one", "two"):
        seaway("network", "create", network)
        seaway("service", "create", "web", "--network", network, "--port", "80")
    seaway("attach", "blue", "--name", "blue", "--network", "two")
    told = seaway("trace", "world", "web:80", status=4)
    assert "'web' means several services: one/web, two/web" in told
    assert "to two/web (" in seaway("trace", "blue", "web:80")
    assert "to one/web (" in seaway("trace", "blue", "one/web:80")


def test_doctor_tells_of_services_that_lead_to_nobody(host: Served, seaway: Seaway) -> None:
    for number in range(7):
        seaway("service", "create", f"web{number}", "--port", "80", "--selector", "app=web")
    found = [f.found for f in health.findings(Client(host.socket)) if f.check == "services"]
    assert "service 'default/web0' leads to nobody: no endpoint has app=web" == found[0]
    assert "2 more lead to nobody" == found[-1]
    seaway("attach", "green", "--label", "app=web")
    assert not [f for f in health.findings(Client(host.socket)) if f.check == "services"]
