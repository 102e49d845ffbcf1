"""The command line against a real API server: what it prints, and with which status it ends.

click ── client ── unix socket ── aiohttp ── intents ── a fake kernel
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tarfile
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from tests.serving import served

from seaway import __version__
from seaway.cli.host import may_go
from seaway.cli.root import COMMANDS, root
from seaway.client import Client
from seaway.model.facts import Attached, Peer
from seaway.model.publications import HeldPort
from seaway.model.reports import BlackHole, Detour, RouteReport
from seaway.model.routing import LinkReport, Question, RoutedReport, Routes
from seaway.setup import health
from seaway.setup.bundle import without_secrets


@pytest.fixture
def host(tmp_path):
    """An agent that answers, on a host with two namespaces."""
    with served(tmp_path) as running:
        running.agent.host.namespaces |= {"/run/netns/blue": 7, "/run/netns/green": 8}
        yield running


@pytest.fixture
def seaway(host):
    """Runs a command, which ends with the expected status; what it printed, or its complaint."""

    def run(*words, status=0):
        result = CliRunner().invoke(root, ["--socket", str(host.socket), *words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert status == result.exit_code, result.stderr
        return result.stderr if status > 1 else result.stdout

    return run


def every_command(group, path=()):
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from every_command(command, (*path, name))


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_a_network_is_made_listed_changed_and_removed(seaway):
    assert "network web: 10.99.0.0/16\n" == seaway(
        "network", "create", "web", "--subnet", "10.99.0.0/16", "--closed"
    )
    seaway("network", "create", "db", "--open", "--mtu", "1400", "--no-masquerade")
    assert "network web is changed\n" == seaway("network", "update", "web", "--open")
    seaway("network", "connect", "web", "db")

    assert [
        ["NAME", "SUBNETS", "OPEN", "CONNECTED", "MTU", "ENDPOINTS"],
        ["db", "10.208.64.0/18,", "fd00:5ea:0:1::/64", "yes", "web", "1400", "0"],
        ["default", "10.208.0.0/18,", "fd00:5ea::/64", "no", "1500", "0"],
        ["web", "10.99.0.0/16", "yes", "db", "1500", "0"],
    ] == rows(seaway("network", "ls"))

    seaway("network", "disconnect", "db", "web")
    seaway("network", "rm", "web")
    assert ["db", "default"] == [
        r["network"]["name"] for r in json.loads(seaway("network", "ls", "-o", "json"))
    ]
    assert "masquerade   no" in seaway("network", "inspect", "db")


def test_an_endpoint_is_attached_listed_inspected_and_detached(seaway):
    seaway("network", "create", "web", "--subnet", "10.99.0.0/24")
    seen = seaway(
        *("attach", "blue", "--network", "web", "--name", "a", "--container", "c1"),
        *("--label", "app=web", "--label", "tier=1", "--mtu", "1300"),
    )
    assert "labels     app=web, tier=1" in seen
    for told in (seen, seaway("endpoint", "inspect", "web/a")):
        names = [line.split()[0] for line in told.splitlines()]
        assert all(len(line.split()) > 1 for line in told.splitlines())
        assert {"weight", "is"} < set(names)
        assert not {"aliases", "ports", "opened", "dropped"} & set(names)

    listed = rows(seaway("endpoint", "ls"))[1][1:]
    assert ["web", "a", "10.99.0.1", "eth0", "c1", "0"] == listed
    found = yaml.safe_load(seaway("endpoint", "inspect", "web/a", "-o", "yaml"))
    assert {"app": "web", "tier": "1"} == found["endpoint"]["labels"]
    assert "/run/netns/blue" == found["endpoint"]["netns"]
    assert "endpoint web/a is detached\n" == seaway("detach", "web/a")
    assert [] == json.loads(seaway("endpoint", "ls", "--network", "web", "-o", "json"))


def test_ports_are_published_shown_and_taken_back(seaway, host):
    seen = seaway("attach", "blue", "-p", "8080:80", "--publish", "53:53/udp,[::1]:7-8:7-8")
    assert "ports      8080:80/tcp, [::1]:7-8:7-8/tcp, 53:53/udp" in seen
    assert "endpoint blue publishes 192.0.2.1:9000-9009:80-89, 1:1\n" == seaway(
        "endpoint", "publish", "blue", "192.0.2.1:9000-9009:80-89", "1:1"
    )
    assert "192.0.2.1:9000-9009:80-89/tcp" in seaway("endpoint", "ls")
    seaway("endpoint", "unpublish", "default/blue", "8080:80", "[::1]:7-8:7-8", "53:53/udp")
    assert "endpoint blue publishes 192.0.2.1:9000-9009:80-89/tcp no more\n" == seaway(
        "endpoint", "unpublish", "blue", "192.0.2.1:9000-9009:80-89/tcp"
    )

    told = json.loads(seaway("endpoint", "inspect", "blue", "-o", "json"))
    left = {"host_port": 1, "container_port": 1, "protocol": "tcp", "host_ip": None}
    assert [left] == told["endpoint"]["ports"]
    assert 2 == len(host.agent.kernel["publications"].read())


@pytest.mark.parametrize("given", ["blue", "/run/netns/blue", "netns/blue"])
def test_a_path_is_sent_whole_because_the_agent_lives_elsewhere(seaway, given):
    with contextlib.chdir("/run"):
        attached = json.loads(seaway("attach", given, "-o", "json"))

    assert "/run/netns/blue" == attached["netns"]


@pytest.mark.parametrize(
    ("given", "name"), [("blue", "blue"), ("/run/netns/blue", "blue"), ("4711", "process-4711")]
)
def test_an_endpoint_is_called_like_what_it_was_attached_to(seaway, host, given, name):
    host.agent.host.namespaces["/run/netns/4711"] = 9

    assert name == json.loads(seaway("attach", given, "-o", "json"))["name"]


def test_addresses_are_shown_checked_and_released(seaway, host):
    seaway("network", "create", "web", "--subnet", "10.99.0.0/24")
    endpoint = json.loads(seaway("attach", "blue", "--network", "web", "-o", "json"))
    seen = seaway("ipam", "show")
    assert "web      10.99.0.0/26" in seen
    assert "10.99.0.1  " in seen
    assert "every address is held by what is there\n" == seaway("ipam", "check")
    assert "is held by the running endpoint" in seaway("ipam", "release", "10.99.0.1", status=4)

    del host.agent.host.namespaces["/run/netns/blue"]
    host.call(lambda: host.agent.intents.facts.change(Attached, endpoint["id"], None))
    assert "seaway ipam release 10.99.0.1" in seaway("ipam", "check", status=1)
    assert "address 10.99.0.1 is free\n" == seaway("ipam", "release", "10.99.0.1")


def test_the_status_is_shown(seaway):
    assert f"ready, {__version__}, process {os.getpid()}" in seaway("status")
    assert True is json.loads(seaway("status", "-o", "json"))["ready"]


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ("network inspect none", 3, "there is no network 'none' (known: default, web)"),
        ("network create web", 4, "there is a network 'web' already (choose another name)"),
        ("network create WEB", 2, "'WEB' is no network name (expected up to 63 of a-z, 0-9"),
        ("network create a --subnet 10.0.0.1/8", 2, "'10.0.0.1/8' is no subnet: "),
        ("network create a --subnet 10.99.0.0/16", 4, "subnet 10.99.0.0/16 overlaps 10.99.0.0/24"),
        ("network create a --mtu 100", 2, "MTU 100 is out of range (expected 1280 to 65535)"),
        ("network update web", 2, "nothing to change was given (see: seaway network update"),
        ("network connect web none", 3, "there is no network 'none' (known: default, web)"),
        ("network connect web web", 2, "network 'web' cannot be connected with itself"),
        ("network rm web", 4, "network 'web' has 1 endpoints: a (detach them first)"),
        ("network create", 2, "Missing argument 'NAME'. (see: seaway network create --help)"),
        ("network creat", 2, "No such command 'creat'. Did you mean 'create'? (see: seaway netw"),
        ("attach green --network none", 3, "there is no network 'none' (known: default, web)"),
        ("attach gone", 3, "there is no network namespace at /run/netns/gone (expected a path"),
        ("attach green --label a", 2, "'a' is no label (expected KEY=VALUE)"),
        ("attach green --label a=1 --label a=2", 2, "label 'a' is given twice (give it once)"),
        ("attach green --address ten", 2, "'ten' is no IP address (expected e.g. 10.208.0.7"),
        ("attach green --network web --name a", 4, "the name 'a' is taken in network 'web' by"),
        ("attach green --network web --address 10.99.0.1", 4, "address 10.99.0.1 is "),
        ("attach green --network web --address 10.9.9.9", 2, "address 10.9.9.9 is outside"),
        ("attach green --interface a/b", 2, "'a/b' is no interface name (expected one without"),
        ("attach blue --network web", 4, "interface 'eth0' of container 'netns-7' is attached"),
        ("attach green --mac 01:00:00:00:00:00", 2, "MAC 01:00:00:00:00:00 is a multicast"),
        ("attach green --publish 80", 2, "'80' is no port mapping (expected [HOSTIP:]HOSTPORT"),
        ("attach green -p 9-8:9-8", 2, "the range 9-8 of '9-8:9-8' is reversed"),
        ("attach green -p 22:22", 4, "port 22/tcp is taken by sshd (process 812) (choose anot"),
        ("endpoint publish none 1:1", 3, "there is no endpoint 'none'"),
        ("endpoint publish web/a 1:1/sctp", 2, "SCTP ports such as 1:1/sctp are not offered"),
        ("endpoint publish web/a [::]:1:1", 2, "endpoint 'a' has no IPv6 address"),
        ("endpoint publish web/a 192.0.2.7:1:1", 2, "this host has no address 192.0.2.7 (it h"),
        ("endpoint publish web/a", 2, "Missing argument 'MAPPING...'"),
        ("endpoint unpublish web/a 1:1", 3, "endpoint 'a' does not publish 1:1/tcp (it has none"),
        ("detach none", 3, "there is no endpoint 'none' (see: seaway endpoint ls)"),
        ("ipam release ten", 2, "'ten' is no IP address"),
        ("ipam release 10.0.0.1", 3, "nobody holds 10.0.0.1 (see: seaway ipam show)"),
        ("status -o xml", 2, "Invalid value for '-o' / '--output': 'xml' is not one of"),
        ("bench same-host attach --json x", 2, "--json holds one case (name one of"),
        ("bench attach --endpoints many", 2, "'many' are no numbers (expected e.g. 1,100)"),
        ("uninstall", 2, "nobody can be asked here (give --yes to remove everything)"),
        ("nothing", 2, "No such command 'nothing'. (see: seaway --help)"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_status(seaway, host, words, status, line):
    seaway("network", "create", "web", "--subnet", "10.99.0.0/24")
    seaway("attach", "blue", "--name", "a", "--network", "web")
    host.agent.host.held = [HeldPort("tcp", ip_address("0.0.0.0"), 22, "sshd (process 812)")]
    before = host.state()

    told = seaway(*words.split(), status=status)

    assert told.startswith(f"seaway: {line}")
    assert 1 == told.count("\n")
    assert before == host.state()


def test_a_full_network_is_told(seaway, host):
    seaway("network", "create", "web", "--subnet", "10.99.0.0/30")
    host.agent.host.namespaces |= {f"/run/netns/{n}": 20 + n for n in range(3)}
    seaway("attach", "0", "--network", "web")
    seaway("attach", "1", "--network", "web")
    before = host.state()

    assert "network 'web'" in seaway("attach", "2", "--network", "web", status=5)
    assert before == host.state()


@pytest.mark.parametrize("left", ["nothing", "a dead agent's socket"])
def test_a_socket_that_nobody_answers_is_told(tmp_path, left):
    path = tmp_path / "agent.sock"
    if left != "nothing":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    result = CliRunner().invoke(root, ["--socket", str(path), "status"])

    assert 7 == result.exit_code
    assert result.stderr.startswith(f"seaway: no agent answers on {path} (")
    assert "seaway init" in result.stderr
    assert 1 == result.stderr.count("\n")


def test_an_agent_that_hangs_up_is_told(tmp_path):
    path = tmp_path / "agent.sock"
    command = [sys.executable, "-m", "seaway", "--socket", str(path), "status"]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as caller:
            server.accept()[0].close()
            _, told = caller.communicate(timeout=60)

    assert 7 == caller.returncode
    assert told.startswith(f"seaway: the agent hung up on {path}: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_socket_that_the_user_may_not_open_is_told(host):
    path = host.socket
    script = (
        "import os, sys; from seaway.client import Client; from pathlib import Path\n"
        "from seaway.errors import Forbidden\n"
        "os.setgroups([]); os.setuid(1234)\n"
        "try: Client(Path(sys.argv[1])).status()\n"
        "except Forbidden as error: print(error)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", script, str(path)], text=True)

    assert told.startswith(f"this user may not open {path} (use root, or become a member of")


def test_every_command_is_listed_with_the_first_line_of_its_own_help():
    with click.Context(root) as context:
        for name, (_, text) in COMMANDS.items():
            command = root.get_command(context, name)
            assert command is not None
            assert text == command.get_short_help_str(limit=200), name


def test_every_command_and_option_says_what_it_is_for():
    for path, command in every_command(root):
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)


def test_every_listing_can_be_had_as_table_json_and_yaml():
    listings = {
        path
        for path, command in every_command(root)
        if any(p.name == "output" for p in command.params)
    }

    assert listings >= {
        ("status",),
        ("doctor",),
        ("attach",),
        ("network", "ls"),
        ("network", "inspect"),
        ("endpoint", "ls"),
        ("endpoint", "inspect"),
        ("ipam", "show"),
        ("ipam", "check"),
        ("lab", "status"),
    }


@pytest.mark.parametrize(
    ("endpoints", "told"),
    [
        (0, "host2 may go"),
        (1, "host2 may go; 1 endpoint still runs on it"),
        (2, "host2 may go; 2 endpoints still run on it"),
    ],
)
def test_a_host_that_is_drained_is_told_with_what_still_runs_there(endpoints, told):
    assert told == may_go("host2", endpoints)


def test_the_version_is_printed():
    for words in (["version"], ["--version"]):
        assert __version__ in CliRunner().invoke(root, words).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_packaged_completion_is_what_the_command_prints(shell):
    folder = Path(__file__).parents[2] / "packaging" / "completion"
    packaged = {"bash": "seaway.bash", "zsh": "_seaway", "fish": "seaway.fish"}[shell]

    printed = CliRunner().invoke(root, ["completion", shell]).stdout

    assert (folder / packaged).read_text() == printed


def test_names_of_networks_and_endpoints_are_completed(seaway, tmp_path):
    seaway("network", "create", "web")
    seaway("network", "create", "db")
    seaway("attach", "blue", "--network", "web", "--name", "one")

    def complete(line):
        words = line.split(" ")
        environment = os.environ | {
            "_SEAWAY_COMPLETE": "bash_complete",
            "SEAWAY_SOCKET": str(tmp_path / "agent.sock"),
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        out = subprocess.check_output(
            [
                sys.executable,
                "-c",
                "import sys; sys.argv[0] = 'seaway'; from seaway.cli import main;main()",
            ],
            env=environment,
            text=True,
        )
        return [line.partition(",")[2] for line in out.splitlines()]

    assert ["network"] == complete("seaway netw")
    assert ["web"] == complete("seaway network inspect w")
    assert ["web/one"] == complete("seaway detach web")


def test_help_starts_fast_and_imports_nothing_heavy():
    script = (
        "import sys; from seaway.cli.root import root\n"
        "try: root(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())

    assert "Commands:" in done.stdout
    assert set() == loaded & {"msgspec", "http.client", "rich", "aiohttp", "asyncio", "yaml"}


def test_a_simple_command_does_not_import_the_agent(seaway):
    seaway("status")
    script = "import sys; import seaway.cli.status, seaway.client; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()

    assert set() == set(loaded) & {"rich", "aiohttp", "asyncio", "yaml", "pyroute2"}


def test_the_bundle_for_a_bug_report_holds_every_part_and_no_secret(seaway, tmp_path):
    seaway("network", "create", "web")
    seaway("attach", "blue", "--network", "web", "--label", "db-password=hunter2")
    seaway("support", str(tmp_path / "s.tar.gz"))

    with tarfile.open(tmp_path / "s.tar.gz") as tar:
        files = {m.name.partition("/")[2]: tar.extractfile(m).read().decode() for m in tar}
    assert files.keys() >= {"doctor.json", "status.json", "endpoints.json", "nft.txt"}
    assert "db-password" in files["endpoints.json"]
    assert not [name for name, text in files.items() if "hunter2" in text]
    assert 0o600 == (tmp_path / "s.tar.gz").stat().st_mode & 0o777
    assert "exists already" in seaway("support", str(tmp_path / "s.tar.gz"), status=4)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("token = abc", "token = <removed>"),
        ("join_token: 'a b c' next", "join_token: <removed> next"),
        ('{"etcdPassword":"x y","a":1}', '{"etcdPassword":<removed>,"a":1}'),
        ("https://user:pass@host/", "https://<removed>@host/"),
        ("-----BEGIN PRIVATE KEY-----\nA\nB\n-----END PRIVATE KEY-----", "<removed>"),
        ("endpoint passes through", "endpoint passes through"),
    ],
)
def test_what_looks_like_a_secret_is_removed(text, left):
    assert left == without_secrets(text)


def test_every_command_has_a_module_that_says_what_it_is_for():
    for module, _ in COMMANDS.values():
        assert import_module(f"seaway.cli.{module}").__doc__


def join(host):
    """There is another host, and `routed` tells of the way to it."""
    facts = host.agent.intents.facts
    host.call(lambda: facts.change(Peer, "b", Peer(name="b", addresses=(), number=2)))
    detour = Detour(via="c", path=("c", "b"), lost="hops: 2, not 1", hops=2, rtt=900, cost=900)
    route = RouteReport(
        host="b",
        routing="hops",
        path=("b",),
        hops=1,
        rtt=400,
        cost=400,
        backup="c",
        detours=(detour,),
    )
    links = (
        LinkReport(host="b", up=True, rtt=0.4, loss=1.5, cost=400, session=True),
        LinkReport(host="c", up=False, rtt=0.0, loss=0.0, cost=0, session=False),
    )
    host.agent.host.told |= {
        "routes": Routes(routes=(route,)),
        "status": RoutedReport(host="h", links=links, hosts=3),
    }


def test_a_host_alone_has_no_routes_and_no_links(host, seaway):
    assert "TO  ROUTING  PATH  HOPS  RTT  COST" == seaway("route", "ls").strip()
    assert "link" not in seaway("status").replace("link-local", "")
    assert [] == host.agent.host.questions


def test_routes_are_listed_and_of_one_host_with_what_was_not_taken(host, seaway):
    join(host)
    (line,) = seaway("route", "ls").splitlines()[1:]
    assert ["b", "hops", "b", "1", "0.4", "ms", "0.4", "ms", "backup:", "c"] == line.split()
    best, other = seaway("route", "ls", "--to", "b", "--routing", "hops").splitlines()[1:]
    assert line.split() == best.split()
    assert "c > b  2     0.9 ms  0.9 ms  not taken: hops: 2, not 1" == other.strip()
    assert Question(ask="routes", to="b", routing="hops") == host.agent.host.questions[-1]
    (told,) = json.loads(seaway("route", "ls", "-o", "json"))
    assert ("b", "c") == (told["host"], told["backup"])


def test_a_black_hole_is_told_with_the_link_and_with_the_path_that_has_it(host, seaway):
    join(host)
    hole = BlackHole(source="h", target="b", size=1500)
    words = "packets of 1500 bytes and more do not pass from h to b"
    link = LinkReport(host="b", up=True, rtt=0.4, loss=0.0, cost=400, session=True, holes=(hole,))
    route = RouteReport(
        host="b", routing="hops", path=("b",), hops=1, holes=(hole,), unmeasured=("c - b",)
    )
    host.agent.host.told |= {
        "routes": Routes(routes=(route,)),
        "status": RoutedReport(host="h", links=(link,), hosts=2),
    }
    assert f"{words}; not measured: c - b" in seaway("route", "ls")
    assert f"link: b is up, 0.4 ms; {words}" in seaway("status").splitlines()
    found = [f for f in health.of_links(Client(host.socket)) if f.level != "ok"]
    assert [("link", "warning", words)] == [(f.check, f.level, f.found) for f in found]


@pytest.mark.parametrize(
    ("drops", "told"),
    [
        ({"no_probe": 1}, ["refused of what came by UDP 8481: no_probe 1"]),
        ({"probe_number": 999, "isolated": 5}, []),
        (
            {"probe_number": 1000, "no_probe": 2},
            ["refused of what came by UDP 8481: no_probe 2, probe_number 1000"],
        ),
    ],
)
def test_the_doctor_tells_what_was_refused_at_the_port_of_probes(host, drops, told):
    host.agent.host.counted |= {(7, reason): packets for reason, packets in drops.items()}
    found = [f.found for f in health.findings(Client(host.socket))]
    assert told == [words for words in found if "refused" in words]


@pytest.mark.parametrize(
    ("path", "level", "end"),
    [(("c", "b"), "off", "; reached through c"), ((), "warning", ""), (("b",), "warning", "")],
)
def test_doctor_warns_of_a_link_that_is_down_where_nothing_leads_around(host, path, level, end):
    join(host)
    link = LinkReport(host="b", up=False, rtt=0.0, loss=0.0, cost=0, session=False)
    route = RouteReport(host="b", routing="hops", path=path)
    host.agent.host.told |= {
        "routes": Routes(routes=(route,)),
        "status": RoutedReport(host="h", links=(link,), hosts=2),
    }
    found = [f for f in health.of_links(Client(host.socket)) if f.check == "link"]
    words = f"b does not answer by UDP 8481{end}"
    assert [(level, words)] == [(f.level, f.found) for f in found]


def test_a_host_that_is_not_reached_is_listed_as_such(host, seaway):
    join(host)
    lost = Detour(via="c", path=(), lost="the link is down, says c")
    report = RouteReport(host="b", routing="hops", path=(), detours=(lost,))
    host.agent.host.told["routes"] = Routes(routes=(report,))
    told = seaway("route", "ls", "--to", "b")
    assert "it is not reached" in told
    assert "not taken: the link is down, says c" in told


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("--to", "z"), 3, "there is no other host 'z'"),
        (("--to", "h"), 3, "there is no other host 'h'"),
        (("--routing", "latency"), 3, "no network has the routing 'latency'"),
        (("--routing", "luck"), 2, "luck"),
    ],
)
def test_a_route_that_cannot_be_shown_says_why(host, seaway, words, status, complaint):
    join(host)
    assert complaint in seaway("route", "ls", *words, status=status)


def test_where_routed_is_dead_routes_say_so_and_the_status_is_told_all_the_same(host, seaway):
    join(host)
    host.agent.host.told = {}
    assert "routed does not answer" in seaway("route", "ls", status=7)
    assert "links: routed does not answer" in seaway("status")


def test_the_status_shows_each_link(host, seaway):
    join(host)
    told = seaway("status").splitlines()
    assert {"link: b is up, 0.4 ms, loss 1.5 %", "link: c is down"} <= set(told)


def test_a_network_is_routed_as_it_was_told(seaway):
    seaway("network", "create", "video", "--routing", "latency")
    assert (
        "latency"
        == json.loads(seaway("network", "inspect", "video", "-o", "json"))["network"]["routing"]
    )
    seaway("network", "update", "video", "--routing", "hops")
    assert "hops" in seaway("network", "inspect", "video")


def test_a_trace_shows_every_step_and_what_came_of_it(seaway):
    seaway("network", "create", "web", "--closed")
    seaway("attach", "blue", "--name", "a", "--publish", "8080:80")
    seaway("attach", "green", "--name", "b", "--network", "web")

    told = seaway("trace", "a", "world:443").splitlines()
    assert ["HOST", "AT", "DEVICE", "TO", "DECIDES", "MTU", "WHY"] == told[0].split()
    assert "from_endpoint" in told[1]
    assert "masqueraded as 192.0.2.1" in told[2]
    assert "to the world by 192.0.2.254  1500" in told[3]
    assert "a (10.208.0.1) to world: left" == told[4]

    told = seaway("trace", "b", "a:80/udp").splitlines()
    assert "dropped: isolated" in told[1]
    assert told[2].endswith(": dropped: isolated")
    told = seaway("trace", "world", "[2001:db8::1]:8080")
    assert "[2001:db8::1]:8080  translated to [fd00:5ea::1]:80" in told
    assert "delivered to default/a" in told
    assert "to this host's sockets" in seaway("trace", "a", "192.0.2.1:22")

    found = json.loads(seaway("trace", "b", "a:80", "-o", "json"))
    assert ("dropped", "isolated") == (found["verdict"], found["reason"])
    assert "drop" == found["steps"][0]["decision"]


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("z", "world:80"), 3, "there is no endpoint 'z'"),
        (("world", "z:80"), 3, "expected the name of an endpoint or a service, an"),
        (("world", "z"), 2, "'z' is no port of anybody"),
        (("world", "z:80/icmp"), 2, "expected tcp or udp"),
        (("world", "world:80"), 2, "neither 'world' nor 'world' is of this cluster"),
    ],
)
def test_what_cannot_be_traced_says_why(seaway, words, status, complaint):
    assert complaint in seaway("trace", *words, status=status)
