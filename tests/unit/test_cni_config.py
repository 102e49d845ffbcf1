"""The CNI environment and configuration: every field read, every malformed one refused by name."""

from __future__ import annotations

import contextlib
import json
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seaway.doors.cni_config import (
    CAPABILITIES,
    OURS,
    Wishes,
    parse_header,
    parse_previous,
    parse_valid,
    parse_wishes,
    version_of,
)
from seaway.doors.cni_env import VERBS, Arguments, Attachment, parse_arguments, parse_environment
from seaway.doors.cni_result import SUPPORTED, Dns
from seaway.errors import (
    IncompatibleVersion,
    Invalid,
    InvalidEnvironment,
    SeawayError,
    Undecodable,
    Unsupported,
)
from seaway.model.requests import IpRange

PAGE = Path(__file__).parents[2] / "docs" / "cni.md"
ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
}


def conf(**fields: Any) -> str:
    return json.dumps({"cniVersion": "1.1.0", "name": "net", "type": "seaway"} | fields)


def wishes(arguments: str = "", **fields: Any) -> Wishes:
    header = parse_header("ADD", conf(**fields))
    return parse_wishes(header.raw, parse_arguments(arguments))


# ── Environment ──


def test_the_environment_of_an_add_is_read() -> None:
    env = parse_environment(ENV)

    assert "ADD" == env.verb
    assert Attachment(container="c1", interface="eth0") == env.attachment
    assert "/run/netns/c1" == env.netns
    assert ("/opt/cni/bin", "/usr/lib/cni") == env.path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CNI_COMMAND", ""),
        ("CNI_COMMAND", "add"),
        ("CNI_COMMAND", "FIX"),
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "-c"),
        ("CNI_CONTAINERID", "a/b"),
        ("CNI_CONTAINERID", "a b"),
        ("CNI_CONTAINERID", "ü"),
        ("CNI_CONTAINERID", "a\n"),
        ("CNI_IFNAME", ""),
        ("CNI_IFNAME", "."),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "lo"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_IFNAME", "eth%d"),
        ("CNI_IFNAME", "a b"),
        ("CNI_IFNAME", "sixteenletters16"),
        ("CNI_IFNAME", "ääääääää"),
        ("CNI_IFNAME", "swy0123456789a"),
        ("CNI_NETNS", ""),
        ("CNI_NETNS", "c1"),
        ("CNI_NETNS", "1234"),
        ("CNI_ARGS", "IP"),
        ("CNI_ARGS", "=1"),
        ("CNI_ARGS", "A=B=C"),
        ("CNI_ARGS", "IP=1.2.3"),
        ("CNI_ARGS", "MAC=zz"),
        ("CNI_ARGS", "IgnoreUnknown=maybe"),
        ("CNI_ARGS", "UNKNOWN=1"),
        ("CNI_ARGS", "UNKNOWN=1;IgnoreUnknown=0"),
    ],
)
def test_a_malformed_variable_is_named_with_code_4(name: str, value: str) -> None:
    with pytest.raises(InvalidEnvironment, match=name) as caught:
        parse_environment(ENV | {name: value})
    assert 4 == caught.value.cni_code


@pytest.mark.parametrize(
    ("verb", "needed"),
    [
        ("ADD", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}),
        ("CHECK", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}),
        ("DEL", {"CNI_CONTAINERID", "CNI_IFNAME"}),
        ("GC", set()),
        ("STATUS", set()),
        ("VERSION", set()),
    ],
)
def test_each_verb_needs_its_variables_and_no_more(verb: str, needed: set[str]) -> None:
    whole = ENV | {"CNI_COMMAND": verb}
    assert verb == parse_environment({k: whole[k] for k in needed | {"CNI_COMMAND"}}).verb
    for name in needed:
        with pytest.raises(InvalidEnvironment, match=name):
            parse_environment({k: v for k, v in whole.items() if k != name})


def test_a_malformed_argument_does_not_keep_a_container_from_being_taken_down() -> None:
    env = parse_environment(ENV | {"CNI_COMMAND": "DEL", "CNI_ARGS": "UNKNOWN=1;;;="})
    assert Arguments() == env.arguments


def test_arguments_ask_for_address_and_mac_and_tell_of_the_pod() -> None:
    told = (
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod;K8S_POD_UID=u;"
        "K8S_POD_INFRA_CONTAINER_ID=i;IP=10.1.0.7/24,fd00::7;MAC=02:00:00:00:00:07;THEIRS=x"
    )

    found = parse_arguments(told)

    assert (ip_address("10.1.0.7"), ip_address("fd00::7")) == found.addresses
    assert "02:00:00:00:00:07" == found.mac
    assert {
        "io.kubernetes.pod.namespace": "ns",
        "io.kubernetes.pod.name": "pod",
        "io.kubernetes.pod.uid": "u",
    } == found.labels


# ── The configuration's header ──


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_supported_version_is_taken(version: str) -> None:
    header = parse_header("ADD", conf(cniVersion=version))
    assert (version, "net", "default", "") == (
        header.version, header.name, header.network, header.ipam,
    )  # fmt: skip


@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0", "0.3.0", "1.2.0", "2.0.0", "1.1", None])
def test_another_version_is_refused_with_code_1_and_the_list_of_ours(version: str | None) -> None:
    with pytest.raises(IncompatibleVersion) as caught:
        parse_header("ADD", conf(cniVersion=version))
    assert 1 == caught.value.cni_code
    assert "supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0" == caught.value.hint


@pytest.mark.parametrize(
    ("verb", "first"), [("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")]
)
@pytest.mark.parametrize("version", SUPPORTED)
def test_a_verb_is_refused_by_versions_that_did_not_have_it(
    verb: str, first: str, version: str
) -> None:
    if version >= first:
        assert version == parse_header(verb, conf(cniVersion=version)).version
        return
    with pytest.raises(IncompatibleVersion, match=f"{version} has no {verb}"):
        parse_header(verb, conf(cniVersion=version))


@pytest.mark.parametrize(
    "stdin",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        "{}x",
        '{"name": 1}',
        '{"name": "net", "cniVersion": 1}',
        conf(network=7),
        conf(ipam="host-local"),
        conf(ipam={"type": 1}),
        '{"name": "\\ud800"}',
        '{"a":' * 100_000,
        "[" * 100_000,
    ],
)
def test_what_is_not_decodable_has_code_6(stdin: str) -> None:
    with pytest.raises(Undecodable) as caught:
        parse_header("ADD", stdin)
    assert 6 == caught.value.cni_code


@pytest.mark.parametrize("name", ["", "-net", "a/b", "net net", "..", None])
def test_a_network_without_a_proper_name_is_refused_with_code_7(name: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse_header("ADD", conf(name=name))
    assert 7 == caught.value.cni_code


@pytest.mark.parametrize("kind", ["../evil", "/bin/sh", "a/b", "..", "-x", "x\0"])
def test_an_ipam_type_never_leaves_the_folders_of_plugins(kind: str) -> None:
    with pytest.raises(Invalid, match=r"ipam\.type"):
        parse_header("ADD", conf(ipam={"type": kind}))


@pytest.mark.parametrize("ipam", [None, {}, {"type": ""}, {"type": "seaway"}])
def test_without_a_foreign_type_ipam_is_ours(ipam: Any) -> None:
    assert "" == parse_header("ADD", conf(ipam=ipam)).ipam


# ── What an ADD wishes ──


def test_a_plain_configuration_wishes_nothing() -> None:
    assert Wishes() == wishes()


def test_what_runtimes_put_into_a_configuration_is_no_unknown_field() -> None:
    assert Wishes() == wishes(
        cniVersions=["1.0.0"], capabilities={"ips": True}, disableCheck=True, disableGC=False,
        loadOnlyInlinedPlugins=False, runtimeConfig={}, prevResult=None, args={"theirs": 1},
        **{"cni.dev/attachments": []},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"netwrok": "blue"}, "'netwrok' with the value \"blue\""),
        ({"bridge": "cni0"}, "'bridge' with the value \"cni0\""),
        ({"ipam": {"subnet": "10.0.0.0/8"}}, "'ipam.subnet' with the value \"10.0.0.0/8\""),
        ({"runtimeConfig": {"deviceID": "0000:01"}}, 'deviceID\' with the value "0000:01"'),
        ({"runtimeConfig": {"infinibandGUID": "c2"}}, "infinibandGUID"),
    ],
)  # fmt: skip
def test_an_unsupported_field_is_refused_with_code_2_its_key_and_value(
    fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(Unsupported) as caught:
        wishes(**fields)
    assert 2 == caught.value.cni_code
    assert told in caught.value.message


def test_empty_capabilities_that_we_do_not_offer_are_no_error() -> None:
    assert Wishes() == wishes(runtimeConfig={"portMappings": [], "bandwidth": {}, "deviceID": ""})


def test_port_mappings_are_read_as_the_plugin_portmap_reads_them() -> None:
    found = wishes(
        runtimeConfig={
            "portMappings": [
                {"hostPort": 8080, "containerPort": 80},
                {"hostPort": 8080, "containerPort": 80, "protocol": "UDP", "hostIP": ""},
                {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "192.0.2.1"},
                {"hostPort": 54, "containerPort": 54, "protocol": "", "hostIP": "::ffff:192.0.2.1"},
            ]
        }
    )
    assert ["8080:80/tcp", "8080:80/udp", "192.0.2.1:53:5353/udp", "192.0.2.1:54:54/tcp"] == [
        str(port) for port in found.ports
    ]


@pytest.mark.parametrize(
    ("mapping", "code", "told"),
    [
        ({"hostPort": 0, "containerPort": 80}, 7, "port 0 of 0:80/tcp is out of range"),
        ({"hostPort": 80, "containerPort": 0}, 7, "port 0 of 80:0/tcp is out of range"),
        ({"hostPort": 70000, "containerPort": 80}, 7, "port 70000"),
        ({"hostPort": -1, "containerPort": 80}, 7, "port -1"),
        ({"hostPort": 80, "containerPort": 80, "protocol": "icmp"}, 7, "'icmp' is no protocol"),
        ({"hostPort": 80, "containerPort": 80, "protocol": "SCTP"}, 2, "SCTP ports such as"),
        ({"hostPort": 80, "containerPort": 80, "hostIP": "here"}, 7, "'here' is no IP address"),
        ({"hostPort": "80", "containerPort": 80}, 6, "Expected `int`, got `str`"),
        ({"hostPort": 80}, 6, "missing required field `containerPort`"),
        ({"hostPort": 80, "containerPort": 80, "name": "web"}, 6, "unknown field `name`"),
    ],
)
def test_a_bad_port_mapping_is_refused_with_what_is_wrong(
    mapping: dict[str, Any], code: int, told: str
) -> None:
    with pytest.raises(Invalid) as caught:
        wishes(runtimeConfig={"portMappings": [mapping]})
    assert code == caught.value.cni_code
    assert told in caught.value.message


def test_capabilities_are_read() -> None:
    found = wishes(
        runtimeConfig={
            "ips": ["10.1.0.7/24", "fd00::7"],
            "mac": "02-00-00-00-00-07",
            "dns": {"servers": ["10.0.0.2"], "searches": ["a.b"], "options": ["ndots:2"]},
            "aliases": ["web", "web.example"],
            "cgroupPath": "/x",
        }
    )

    assert (ip_address("10.1.0.7"), ip_address("fd00::7")) == found.addresses
    assert "02:00:00:00:00:07" == found.mac
    assert ("web", "web.example") == found.aliases
    assert Dns(nameservers=("10.0.0.2",), search=("a.b",), options=("ndots:2",)) == found.dns


def test_capabilities_are_read_in_containerds_words_too() -> None:
    found = wishes(
        runtimeConfig={
            "portMappings": [
                {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
                {"HostPort": 53, "ContainerPort": 53, "Protocol": "udp", "HostIP": "127.0.0.1"},
            ],
            "dns": {"Servers": ["10.0.0.2"], "Searches": ["a.b"], "Options": ["ndots:2"]},
            "ipRanges": [[{"Subnet": "10.1.0.0/24", "RangeStart": "10.1.0.9"}]],
            "aliases": {"Net": ["Web"]},
        }
    )

    assert ["8080:80/tcp", "127.0.0.1:53:53/udp"] == [str(port) for port in found.ports]
    assert Dns(nameservers=("10.0.0.2",), search=("a.b",), options=("ndots:2",)) == found.dns
    assert ip_address("10.1.0.9") == found.ranges[0][0].start
    assert ("Web",) == found.aliases


@pytest.mark.parametrize("aliases", [["web", "front"], {"net": ["web", "front", "web"]}])
def test_aliases_are_read_in_the_form_of_the_convention_and_in_podmans(aliases: Any) -> None:
    assert ("web", "front") == wishes(runtimeConfig={"aliases": aliases}).aliases


def test_ranges_are_read_and_one_address_is_taken_of_each() -> None:
    found = wishes(
        runtimeConfig={
            "ipRanges": [
                [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.20"}],
                [{"subnet": "fd00::/64", "gateway": "fd00::1"}],
            ]
        }
    )

    assert (
        (
            IpRange(
                subnet=ip_network("10.1.0.0/24"),
                start=ip_address("10.1.0.9"),
                end=ip_address("10.1.0.20"),
            ),
        ),
        (IpRange(subnet=ip_network("fd00::/64")),),
    ) == found.ranges


def test_a_certain_address_goes_before_the_range_of_its_family() -> None:
    ranges = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]

    found = wishes(runtimeConfig={"ips": ["10.1.0.7"], "ipRanges": ranges})

    assert [[ip_network("fd00::/64")]] == [[r.subnet for r in s] for s in found.ranges]
    with pytest.raises(Invalid, match=r"10\.2\.0\.7 is in none of the ranges"):
        wishes(runtimeConfig={"ips": ["10.2.0.7"], "ipRanges": ranges})


@pytest.mark.parametrize(
    ("runtime", "args", "arguments", "expected"),
    [
        (["10.0.0.1"], ["10.0.0.2"], "IP=10.0.0.3", "10.0.0.1"),
        ([], ["10.0.0.2"], "IP=10.0.0.3", "10.0.0.2"),
        ([], [], "IP=10.0.0.3", "10.0.0.3"),
    ],
)
def test_the_runtimes_word_on_addresses_wins_over_args_and_those_over_cni_args(
    runtime: list[str], args: list[str], arguments: str, expected: str
) -> None:
    found = wishes(arguments, runtimeConfig={"ips": runtime}, args={"cni": {"ips": args}})
    assert (ip_address(expected),) == found.addresses


def test_nerdctls_two_ways_to_ask_for_an_address_of_each_family_go_together() -> None:
    found = wishes("IgnoreUnknown=1;IP=10.1.0.7", runtimeConfig={"ips": ["fd00::7"]})

    assert {ip_address("10.1.0.7"), ip_address("fd00::7")} == set(found.addresses)


def test_labels_of_args_win_over_those_of_the_pod() -> None:
    labels = [{"key": "app", "value": "web"}, {"key": "io.kubernetes.pod.name", "value": "mine"}]

    found = wishes("K8S_POD_NAME=pod;K8S_POD_NAMESPACE=ns", args={"cni": {"labels": labels}})

    assert {
        "app": "web",
        "io.kubernetes.pod.name": "mine",
        "io.kubernetes.pod.namespace": "ns",
    } == found.labels


def test_the_runtimes_dns_wins_list_by_list_over_the_configurations() -> None:
    own = {"nameservers": ["10.0.0.1"], "domain": "d", "search": ["s"], "options": ["o"]}

    found = wishes(dns=own, runtimeConfig={"dns": {"servers": ["10.0.0.2"]}})

    assert Dns(nameservers=("10.0.0.2",), domain="d", search=("s",), options=("o",)) == found.dns


@pytest.mark.parametrize(
    "fields",
    [
        {"mtu": 67},
        {"mtu": 70000},
        {"dns": {"nameservers": ["resolver"]}},
        {"runtimeConfig": {"ips": ["10.0.0"]}},
        {"runtimeConfig": {"mac": "01:00:00:00:00:01"}},
        {"runtimeConfig": {"aliases": ["-x"]}},
        {"args": {"cni": {"labels": [{"key": "a", "value": "x\ny"}]}}},
        {"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/24", "rangeStart": "10.1.0.1"}]]}},
        {"runtimeConfig": {"ipRanges": [[]]}},
        {"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/24"}]] * 2}},
        {"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/24"}] * 17]}},
        {"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]}},
        {"args": {"cni": {"ips": ["x"]}}},
    ],
)
def test_a_value_out_of_place_has_code_7(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        wishes(**fields)
    assert 7 == caught.value.cni_code


@pytest.mark.parametrize(
    "fields",
    [
        {"mtu": "1500"},
        {"mtu": 1.5},
        {"ipMasq": "yes"},
        {"dns": []},
        {"dns": {"nameservers": "10.0.0.1"}},
        {"runtimeConfig": []},
        {"runtimeConfig": {"ips": "10.0.0.1"}},
        {"runtimeConfig": {"ips": [1]}},
        {"runtimeConfig": {"mac": 7}},
        {"runtimeConfig": {"ipRanges": [{"subnet": "10.0.0.0/24"}]}},
        {"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.1/24"}]]}},
        {"runtimeConfig": {"ipRanges": [[{"subnet": "10.0.0.0/24", "start": "10.0.0.1"}]]}},
        {"runtimeConfig": {"dns": {"nameservers": []}}},
        {"runtimeConfig": {"aliases": "web"}},
        {"runtimeConfig": {"aliases": {"net": "web"}}},
        {"args": 1},
        {"args": {"cni": {"labels": {"a": "b"}}}},
        {"args": {"cni": {"labels": [{"value": "b"}]}}},
        {"prevResult": "x"},
        {"prevResult": {"ips": 1}},
    ],
)
def test_a_value_of_another_shape_has_code_6(fields: dict[str, Any]) -> None:
    with pytest.raises(Undecodable) as caught:
        wishes(**fields)
    assert 6 == caught.value.cni_code


def test_masquerading_is_only_an_opinion_where_it_is_given() -> None:
    assert [None, True, False] == [
        wishes().masquerade, wishes(ipMasq=True).masquerade, wishes(ipMasq=False).masquerade,
    ]  # fmt: skip


# ── GC ──


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_the_valid_attachments_of_a_gc_are_read(key: str) -> None:
    raw = {key: [{"containerID": "c1", "ifname": "eth0"}]}
    assert {Attachment(container="c1", interface="eth0")} == parse_valid(raw)
    assert frozenset() == parse_valid({key: None})


def test_a_gc_without_a_list_frees_nothing() -> None:
    with pytest.raises(Invalid, match="valid-attachments"):
        parse_valid({})


@pytest.mark.parametrize("value", [{}, "x", [1], [{"containerID": "c"}], [{"ifname": "e"}]])
def test_a_malformed_list_of_attachments_has_code_6(value: object) -> None:
    with pytest.raises(Undecodable):
        parse_valid({"cni.dev/valid-attachments": value})


# ── Anything at all ──


@pytest.mark.parametrize(
    ("stdin", "expected"),
    [
        (conf(cniVersion="0.4.0"), "0.4.0"),
        (conf(cniVersion="9.9.9"), "9.9.9"),
        (conf(cniVersion='"'), "1.1.0"),
        ("{", "1.1.0"),
        ("", "1.1.0"),
        ("[" * 100_000, "1.1.0"),
    ],
)
def test_an_error_answers_in_the_version_that_was_asked_for(stdin: str, expected: str) -> None:
    assert expected == version_of(stdin)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "ips", "mac", "dns", "cni", "labels", "key", "value", "subnet", "routes",
             "interfaces", "address", "interface", "name", "gateway", "aliases", "ipRanges"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
fields = st.dictionaries(
    st.sampled_from(
        ["cniVersion", "name", "network", "ipam", "mtu", "dns", "ipMasq", "runtimeConfig", "args",
         "prevResult", "cni.dev/valid-attachments", "capabilities", "other"]
    ),
    json_values,
)  # fmt: skip


@given(st.sampled_from(VERBS), fields)
def test_any_configuration_is_read_or_refused_in_our_words(
    verb: str, given_fields: dict[str, Any]
) -> None:
    stdin = json.dumps({"cniVersion": "1.1.0", "name": "net"} | given_fields)
    version_of(stdin)
    with contextlib.suppress(SeawayError):
        header = parse_header(verb, stdin)
        parse_wishes(header.raw, Arguments())
        parse_previous(header.raw)
        parse_valid(header.raw)


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
@example("\x00")
@example("{" * 5000)
def test_any_text_is_a_configuration_or_refused_in_our_words(stdin: str) -> None:
    version_of(stdin)
    with pytest.raises(SeawayError):
        parse_header("ADD", stdin)


@given(
    st.dictionaries(
        st.sampled_from([*ENV, "CNI_ARGS"]),
        st.text(max_size=20)
        | st.sampled_from([*VERBS, "IP=10.0.0.1;MAC=x", "IgnoreUnknown=1;A=B"]),
    )
)
def test_any_environment_is_read_or_refused_with_code_4(env: dict[str, str]) -> None:
    with contextlib.suppress(InvalidEnvironment):
        parse_environment(ENV | env)


@pytest.mark.parametrize("block", re.findall(r"```jsonc\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_every_configuration_of_the_page_is_one_that_we_take(block: str) -> None:
    told = json.loads(block)
    for version in {told["cniVersion"], *told.get("cniVersions", [])}:
        for plugin in told["plugins"]:
            whole = plugin | {"cniVersion": version, "name": told["name"]}
            header = parse_header("ADD", json.dumps(whole))
            assert isinstance(parse_wishes(header.raw, Arguments()), Wishes)


def test_every_key_that_we_take_is_on_the_page() -> None:
    for key in (*OURS, *CAPABILITIES):
        assert f"| `{key}` |" in PAGE.read_text()
