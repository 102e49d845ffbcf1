"""The HTTP API: held to its description, and to what it must refuse.

client ── unix socket ── aiohttp ── table of routes ── intents ── a fake kernel
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from http.client import HTTPConnection

import msgspec
import pytest
import yaml
from msgspec.structs import replace
from tests.serving import served

from seaway import __version__
from seaway.api import listener, peers, schemas
from seaway.api.handling import openapi
from seaway.api.routes import ROUTES
from seaway.errors import Conflict, Forbidden
from seaway.model import codec
from seaway.model.facts import Attached, Endpoint
from seaway.model.reports import NewTokenReport, Status
from seaway.model.requests import NewEndpoint, NewNetwork
from seaway.model.wire import ErrorReport
from seaway.trust import certificates, tokens

DOCUMENT = yaml.safe_load(openapi())
DESCRIBED = {
    (method.upper(), path): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters" and path != "/v1/openapi.yaml"
}
PORT = {"host_port": 8080, "container_port": 80, "protocol": "udp", "host_ip": "192.0.2.1"}
SERVICE_PORT = {"port": 80, "target": "http"}
SERVICE = {"name": "s", "network": "web", "ports": [SERVICE_PORT], "selector": {"app": "s"}}
A = {"netns": "blue", "network": "web", "name": "a", "labels": {"app": "s"}}
SLICE = {"name": "x", "network": "web", "service": "s", "family": 4}
PUBLISH = "/v1/endpoints/a/publish"
BLUE = {"netns": "blue", "network": "default"}
CHANGES = "/v1/store/changes?now=1&since={revision}&mark={mark}"
TRACE = "/v1/trace?from=web/a&to=world:443/tcp"
ONWARD = (
    "/v1/trace/onward?at=h&source=203.0.113.1&destination=192.0.2.1&port=80&protocol=tcp"
    "&carried=wire"
)
EXAMPLES = {  # a request for every route, in an order in which each succeeds
    ("POST", "/v1/networks"): ({}, {"name": "web"}),
    ("GET", "/v1/networks"): ({}, None),
    ("GET", "/v1/networks/{name}"): ({"name": "web"}, None),
    ("PATCH", "/v1/networks/{name}"): ({"name": "web"}, {"open": True}),
    ("PUT", "/v1/networks/{name}/connections/{other}"): ({"name": "web", "other": "db"}, None),
    ("DELETE", "/v1/networks/{name}/connections/{other}"): ({"name": "web", "other": "db"}, None),
    ("POST", "/v1/endpoints"): ({}, A),
    ("POST", "/v1/endpoints/{ref}/publish"): ({"ref": "web%2Fa"}, {"ports": [PORT]}),
    ("POST", "/v1/endpoints/{ref}/unpublish"): ({"ref": "web%2Fa"}, {"ports": [PORT]}),
    ("PATCH", "/v1/endpoints/{ref}"): ({"ref": "web%2Fa"}, {"ready": False}),
    ("GET", "/v1/endpoints"): ({}, None),
    ("GET", "/v1/endpoints/{ref}"): ({"ref": "web%2Fa"}, None),
    ("POST", "/v1/services"): ({}, SERVICE),
    ("GET", "/v1/services"): ({}, None),
    ("GET", "/v1/services/{ref}"): ({"ref": "web%2Fs"}, None),
    ("PATCH", "/v1/services/{ref}"): ({"ref": "s"}, {"affinity": 10}),
    ("PUT", "/v1/services/{ref}/drain/{backend}"): ({"ref": "s", "backend": "a"}, None),
    ("GET", "/v1/services/{ref}/drain/{backend}"): ({"ref": "web%2Fs", "backend": "a"}, None),
    ("DELETE", "/v1/services/{ref}/drain/{backend}"): ({"ref": "s", "backend": "a"}, None),
    ("GET", "/v1/services/{ref}/serving/{backend}"): ({"ref": "s", "backend": "a"}, None),
    ("POST", "/v1/apply"): ({}, {"services": [], "slices": [SLICE]}),
    ("GET", "/v1/slices"): ({}, None),
    ("POST", "/v1/delete"): ({}, {"slices": ["web/x"]}),
    ("DELETE", "/v1/services/{ref}"): ({"ref": "web%2Fs"}, None),
    ("GET", "/v1/status"): ({}, None),
    ("GET", "/v1/backup"): ({}, None),
    ("GET", "/v1/links"): ({}, None),
    ("GET", "/v1/routes"): ({}, None),
    ("GET", TRACE): ({}, None),
    ("GET", ONWARD): ({}, None),
    ("GET", "/v1/ipam"): ({}, None),
    ("GET", "/v1/ipam/check"): ({}, None),
    ("DELETE", "/v1/ipam/addresses/{address}"): ({"address": "10.208.9.9"}, None),
    ("POST", "/v1/cni"): ({}, {"env": {"CNI_COMMAND": "VERSION"}, "stdin": "{}"}),
    ("DELETE", "/v1/endpoints/{ref}"): ({"ref": "web%2Fa"}, None),
    ("DELETE", "/v1/networks/{name}"): ({"name": "web"}, None),
    ("POST", "/v1/tokens"): ({}, {"ttl": 60.0, "uses": 1}),
    ("GET", "/v1/tokens"): ({}, None),
    ("DELETE", "/v1/tokens/{token}"): ({"token": "00000000"}, None),
    ("GET", "/v1/join"): ({}, None),
    ("POST", "/v1/join"): ({}, {}),
    ("GET", "/v1/networks/{name}/use"): ({"name": "default"}, None),
    ("POST", "/v1/loans"): (
        {},
        {"network": "default", "host": "two", "first": "10.208.0.0", "last": "10.208.0.63"},
    ),
    ("GET", "/v1/hosts"): ({}, None),
    ("PUT", "/v1/hosts/{host}/certificate"): ({"host": "two"}, {"request": ""}),
    ("PATCH", "/v1/hosts/{host}"): ({"host": "two"}, {"zone": "a"}),
    ("PUT", "/v1/hosts/{host}/drain"): ({"host": "two"}, None),
    ("GET", "/v1/hosts/{host}/drain"): ({"host": "two"}, None),
    ("GET", "/v1/hosts/{host}/relay"): ({"host": "two"}, None),
    ("DELETE", "/v1/hosts/{host}/drain"): ({"host": "two"}, None),
    ("GET", "/v1/etcd"): ({}, None),
    ("GET", "/v1/store"): ({}, None),
    ("POST", "/v1/store"): ({}, {"put": {}, "expect": {"networks/none": 0}}),
    ("GET", CHANGES): ({}, None),
    ("DELETE", "/v1/hosts/{host}"): ({"host": "two"}, None),
    ("POST", "/v1/leave?force=yes"): ({}, None),
}


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user or group")


@pytest.fixture
def host(tmp_path):
    """An agent that answers, on a host with a namespace `blue`."""
    with served(tmp_path) as running:
        running.agent.host.namespaces["/run/netns/blue"] = 7
        yield running


@pytest.fixture
def agent(host):
    return host.socket


def ask(path, method, target, body=None):
    """Status, content type and bytes of one answer, without the help of the client."""
    connection = HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, target, data)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, response.headers.get_content_type(), answer


def refusal(path, method, target, body=None):
    status, kind, answer = ask(path, method, target, body)
    assert kind == "application/json"
    return status, codec.decode(answer, ErrorReport).error


def test_every_route_is_described_and_every_description_is_served():
    assert {(route.method, route.path) for route in ROUTES} == DESCRIBED.keys()


def schema_of(kind):
    """Of one request or answer, with references to the components."""
    hook, reference = schemas._WRITTEN.__getitem__, schemas._REFERENCE
    (schema,), _ = msgspec.json.schema_components([kind], schema_hook=hook, ref_template=reference)
    return schema


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_what_a_route_takes_and_answers_is_as_described(route):
    operation = DESCRIBED[route.method, route.path]
    shared = DOCUMENT["paths"][route.path].get("parameters", [])
    named = DOCUMENT["components"]["parameters"]
    parameters = [
        named[p["$ref"].rpartition("/")[2]] if "$ref" in p else p
        for p in shared + operation.get("parameters", [])
    ]
    told = operation["responses"][str(route.status)].get("content")
    taken = operation.get("requestBody", {}).get("content")

    def as_json(kind):
        return kind and {"application/json": {"schema": schema_of(kind)}}

    assert {"default", str(route.status)} == operation["responses"].keys()
    assert as_json(route.answers) == told
    assert as_json(route.takes) == taken
    assert set(route.query) == {p["name"] for p in parameters if p["in"] == "query"}
    assert set(re.findall(r"{(\w+)}", route.path)) == {
        p["name"] for p in parameters if p["in"] == "path"
    }


def test_the_described_schemas_are_those_of_the_types():
    expected = json.loads(json.dumps(schemas.components()))
    assert expected == DOCUMENT["components"]["schemas"], "run scripts/openapi-schemas"


def leak(host, agent):
    """An endpoint whose container is gone; the address that it holds."""
    host.agent.host.namespaces["/run/netns/gone"] = 8
    _, _, answer = ask(agent, "POST", "/v1/endpoints", {"netns": "gone", "network": "web"})
    endpoint = codec.decode(answer, Endpoint)
    del host.agent.host.namespaces["/run/netns/gone"]
    host.call(lambda: host.agent.intents.facts.change(Attached, endpoint.id, None))
    return endpoint.addresses[0].ip


KEY = certificates.new_key()


JOINING = {
    "token": "0" * 8, "secret": "", "name": "two", "request": "", "underlay": [], "foreign": [],
    "clock": 0.0, "version": "",
}  # fmt: skip


def token(agent):
    """One that holds."""
    _, _, answer = ask(agent, "POST", "/v1/tokens", {})
    return tokens.parse(codec.decode(answer, NewTokenReport).token)


def prepared(host, agent, key):
    """What of a request is known only now."""
    match key:
        case ("DELETE", "/v1/ipam/addresses/{address}"):
            return {"address": leak(host, agent)}, None
        case ("DELETE", "/v1/tokens/{token}"):
            return {"token": token(agent).id}, None
        case ("POST", "/v1/join"):
            made = token(agent)
            request = {"name": "two", "request": certificates.request(KEY, "two")}
            clock, version = time.time(), __version__
            told = {"foreign": [], "underlay": ["192.0.2.2"], "clock": clock, "version": version}
            return {}, request | told | {"token": made.id, "secret": made.secret}
        case ("GET", path) if path == CHANGES:
            stored = json.loads(ask(agent, "GET", "/v1/store")[2])
            return {name: stored[name] for name in ("revision", "mark")}, None
        case ("POST", "/v1/loans"):
            assert 201 == ask(agent, "POST", "/v1/endpoints", BLUE)[0]
        case ("PUT", "/v1/hosts/{host}/certificate"):
            return {"host": "two"}, {"request": certificates.request(KEY, "two")}
        case ("POST", "/v1/leave?force=yes"):
            _, joining = prepared(host, agent, ("POST", "/v1/join"))
            assert 201 == ask(agent, "POST", "/v1/join", joining)[0]
            host.agent.intents.member = replace(host.agent.intents.member, etcd=("elsewhere",))
    return EXAMPLES[key]


def test_every_route_answers_as_described(host, agent):
    ask(agent, "POST", "/v1/networks", {"name": "db"})
    routes = {(route.method, route.path): route for route in ROUTES}
    assert routes.keys() == {(method, path.partition("?")[0]) for method, path in EXAMPLES}

    for key in EXAMPLES:
        path, body = prepared(host, agent, key)
        route = routes[key[0], key[1].partition("?")[0]]
        status, _, answer = ask(agent, key[0], key[1].format(**path), body)

        assert route.status == status, answer
        if route.answers:
            codec.decode(answer, route.answers)
        else:
            assert b"" == answer


def test_an_agent_that_is_starting_tells_how_it_is_and_changes_nothing(host, agent):
    host.agent.intents.serving = False
    before = host.state()
    examples = {(method, path.partition("?")[0]): e for (method, path), e in EXAMPLES.items()}
    changing = [(route.method, route.path) for route in ROUTES if route.changes and not route.early]
    for key in changing:
        path, body = examples[key]
        body = {**body, **JOINING} if key == ("POST", "/v1/join") else body
        path = {"address": "10.208.0.1"} if "address" in path else path
        status, error = refusal(agent, key[0], key[1].format(**path), body)
        assert (503, "NotReady") == (status, error.kind)

    _, _, answer = ask(agent, "GET", "/v1/status")
    assert not codec.decode(answer, Status).ready
    assert before == host.state()


def test_the_description_itself_is_served(agent):
    assert (200, "application/yaml", openapi()) == ask(agent, "GET", "/v1/openapi.yaml")


@pytest.mark.parametrize(
    ("request_", "status", "kind", "complaint"),
    [
        (("POST", "/v1/networks", {"nmae": "a"}), 400, "Undecodable", "unknown field `nmae`"),
        (("POST", "/v1/networks", b""), 400, "Undecodable", "not JSON"),
        (("POST", "/v1/networks", b"{"), 400, "Undecodable", "not JSON"),
        (("POST", "/v1/networks", {"name": "A"}), 400, "Invalid", "'A' is no network name"),
        (("POST", "/v1/networks", b"[" * (17 << 20)), 400, "Invalid", "Entity Too Large"),
        (("GET", "/v1/networks/none"), 404, "NotFound", "there is no network 'none'"),
        (("GET", "/v1/status", {}), 400, "Invalid", "GET /v1/status takes no body"),
        (("GET", "/v1/endpoints?net=a"), 400, "Invalid", "unknown query parameter 'net'"),
        (("DELETE", "/v1/ipam/addresses/ten"), 400, "Invalid", "'ten' is no IP address"),
        (("GET", "/v1/trace?from=a"), 400, "Invalid", "'' is no port of anybody"),
        (("GET", "/v1/trace?from=a&to=b:80"), 404, "NotFound", "there is no endpoint 'a'"),
        (("GET", "/v1/trace/onward?at=h"), 400, "Undecodable", "missing required field"),
        (("GET", ONWARD.replace("80", "x")), 400, "Invalid", "'x' is no number"),
        (("GET", f"{ONWARD}&ttl=65"), 400, "Invalid", "ttl 65 is out of range"),
        (("GET", f"{ONWARD}&within=30001"), 400, "Invalid", "within 30001 is out of range"),
        (("GET", f"{ONWARD}&by=a,b,c,d,e,f"), 400, "Invalid", "came by too many hosts"),
        (("GET", "/v2/status"), 404, "NotFound", "there is no /v2/status"),
        (("POST", PUBLISH, {"ports": []}), 400, "Invalid", "no port was given"),
        (("POST", PUBLISH, {"ports": [PORT]}), 404, "NotFound", "there is no endpoint 'a'"),
        (("POST", PUBLISH, {"ports": ["8080:80"]}), 400, "Undecodable", "at `$.ports[0]`"),
        (("POST", "/v1/services", {"name": "s"}), 400, "Invalid", "service 's' has no port"),
        (("POST", "/v1/services", {"nmae": "s"}), 400, "Undecodable", "unknown field `nmae`"),
        (("GET", "/v1/services/s"), 404, "NotFound", "there is no service 's'"),
        (("GET", "/v1/services?network=s"), 404, "NotFound", "there is no network 's'"),
        (("POST", "/v1/delete", {"slices": ["a/b"]}), 404, "NotFound", "there is no slice 'a/b'"),
        (("PUT", "/v1/status"), 400, "Invalid", "PUT /v1/status is not offered"),
    ],
)
def test_a_bad_request_is_refused_with_what_is_wrong(agent, request_, status, kind, complaint):
    told, error = refusal(agent, *request_)

    assert (status, kind) == (told, error.kind)
    assert complaint in error.message


def test_a_refusal_of_the_kernel_is_told_as_one(host, agent):
    def full():
        raise OSError(28, "No space left on device")

    host.agent.host.foreign_prefixes = full
    status, error = refusal(agent, "POST", "/v1/networks", {"name": "a"})

    assert (500, "SystemFailed", 5) == (status, error.kind, error.cni_code)
    assert "No space left on device" in error.message


def test_a_defect_is_one_answer_and_the_agent_works_on(host, agent):
    host.agent.host.drops = lambda: 1 / 0

    assert 500 == ask(agent, "GET", "/v1/status")[0]
    assert 200 == ask(agent, "GET", "/v1/networks")[0]


def test_root_changes_and_the_group_reads():
    root, reader, stranger = (
        peers.Peer(0, frozenset({0})),
        peers.Peer(1000, frozenset({100, 7})),
        peers.Peer(1000, frozenset({100})),
    )
    root.must_read(None)
    root.must_change()
    reader.must_read(7)

    for refused in (
        reader.must_change,
        stranger.must_change,
        lambda: stranger.must_read(7),
        lambda: stranger.must_read(None),
    ):
        with pytest.raises(Forbidden):
            refused()


AS_USER = """
import os, socket, sys
groups = [int(g) for g in sys.argv[2].split(",")]
os.setgroups(groups[1:]); os.setgid(groups[0]); os.setuid(1234)
with socket.socket(socket.AF_UNIX) as s:
    s.connect("\\0" + sys.argv[1]); s.recv(1)
"""


@contextmanager
def called_by(groups):
    """A connection from user 1234 with these groups, over a socket that needs no file."""
    name = f"seaway-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()
        argv = [sys.executable, "-c", AS_USER, name, ",".join(map(str, groups))]
        with subprocess.Popen(argv) as caller:
            server.settimeout(30)
            connection, _ = server.accept()
            with connection:
                yield connection
    assert caller.returncode == 0


@as_root
def test_the_kernel_tells_user_and_all_groups_of_the_peer():
    with called_by([100, 4242, 4243]) as connection:
        assert peers.Peer(1234, frozenset({100, 4242, 4243})) == peers.peer_of(connection)


@as_root
def test_a_peer_of_more_groups_than_are_looked_at_is_refused():
    refused = pytest.raises(Forbidden, match="at most 256, or use root")
    with called_by([100, *range(2000, 2600)]) as connection, refused:
        peers.peer_of(connection)


def test_the_socket_is_roots_alone_without_the_group(tmp_path):
    made = listener.listen(tmp_path / "s", None)
    with made.socket:
        assert 0o600 == stat.S_IMODE((tmp_path / "s").stat().st_mode)


@as_root
def test_the_socket_is_open_to_the_group_that_is_there(tmp_path):
    made = listener.listen(tmp_path / "s", 4242)
    with made.socket:
        found = (tmp_path / "s").stat()
        assert (0o660, 4242) == (stat.S_IMODE(found.st_mode), found.st_gid)


def test_a_dead_agents_socket_is_replaced(tmp_path):
    listener.listen(tmp_path / "s", None).socket.close()

    with listener.listen(tmp_path / "s", None).socket:
        assert listener.is_answered(tmp_path / "s")
    assert [tmp_path / "s"] == list(tmp_path.iterdir())


def test_a_living_agents_socket_is_never_taken(agent):
    with pytest.raises(Conflict, match="another agent answers"):
        listener.listen(agent, None)

    assert ask(agent, "GET", "/v1/networks")[0] == 200


def test_a_stopped_agent_leaves_no_socket_but_its_successors(tmp_path):
    first = listener.listen(tmp_path / "s", None)
    first.socket.close()
    second = listener.listen(tmp_path / "s", None)
    first.forget()
    with second.socket:
        assert listener.is_answered(tmp_path / "s")
    second.forget()
    second.forget()

    assert [] == list(tmp_path.iterdir())


def test_requests_survive_their_own_json():
    for value in (NewNetwork(name="a"), NewEndpoint(netns="x", network="a")):
        assert value == codec.decode(codec.encode(value), type(value))
