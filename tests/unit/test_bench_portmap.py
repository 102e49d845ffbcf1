"""What the plugin `portmap` is given, as a runtime gives it to the second plugin of a list."""

from __future__ import annotations

from seaway.bench.cni import chained, configuration
from seaway.bench.ports import PORTS


def test_every_port_of_the_servers_is_mapped_to_itself():
    mappings = chained(configuration("bridge"), {})["runtimeConfig"]["portMappings"]

    assert [(p.number, p.number, p.protocol) for p in PORTS] == [
        (m["hostPort"], m["containerPort"], m["protocol"]) for m in mappings
    ]


def test_the_second_plugin_of_a_list_gets_the_result_of_the_first():
    first, result = configuration("bridge"), {"ips": [{"address": "10.210.0.2/16"}]}
    given = chained(first, result)

    assert result == given["prevResult"]
    assert (first["name"], first["cniVersion"]) == (given["name"], given["cniVersion"])
    assert ("portmap", True) == (given["type"], given["capabilities"]["portMappings"])
