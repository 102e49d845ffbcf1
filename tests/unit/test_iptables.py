"""What a filter table makes of a packet that no condition of it meets."""

from __future__ import annotations

import pytest

from seaway.kernel import iptables

DOCKER = """\
*filter
:INPUT ACCEPT [1:2]
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -m comment --comment "the \\"user\\" said" -j RETURN
COMMIT
"""


def table(*rules: str, policy: str = "ACCEPT") -> iptables.Filter:
    own = {rule.split()[1] for rule in rules} - {"FORWARD"}
    lines = [f":FORWARD {policy} [0:0]", *(f":{c} - [0:0]" for c in own), *rules]
    return iptables.parse("\n".join(["*filter", *lines, "COMMIT"]))


def test_a_listing_is_taken_apart_into_policies_and_words():
    found = iptables.parse(DOCKER)

    assert {"INPUT": "ACCEPT", "FORWARD": "DROP"} == found.policies
    assert (("-m", "comment", "--comment", 'the "user" said', "-j", "RETURN"),) == found.rules[
        "DOCKER-USER"
    ]
    assert (True, False) == (found.refuses("FORWARD"), found.refuses("INPUT"))
    assert found.asks_docker_user()


@pytest.mark.parametrize(
    ("rules", "policy", "refuses"),
    [
        ([], "DROP", True),
        ([], "ACCEPT", False),
        (["-A FORWARD -j REJECT --reject-with icmp-port-unreachable"], "ACCEPT", True),
        (["-A FORWARD -j DROP"], "ACCEPT", True),
        (["-A FORWARD -i eth9 -j DROP"], "ACCEPT", False),
        (["-A FORWARD -j ACCEPT", "-A FORWARD -j DROP"], "DROP", False),
        (["-A FORWARD -j LOG", "-A FORWARD -j DROP"], "ACCEPT", True),
        (["-A FORWARD -j end", "-A end -j REJECT"], "ACCEPT", True),
        (["-A FORWARD -j end", "-A end -i x -j DROP"], "ACCEPT", False),
        (["-A FORWARD -j end", "-A end -j RETURN", "-A end -j DROP"], "ACCEPT", False),
        (["-A FORWARD -j one", "-A one -g two", "-A one -j DROP", "-A two -i x"], "ACCEPT", False),
        (["-A FORWARD -g end", "-A FORWARD -j ACCEPT", "-A end -i x -j ACCEPT"], "DROP", True),
        (["-A FORWARD -j one", "-A one -j two", "-A two -j one"], "DROP", True),
    ],
)
def test_a_chain_refuses_if_its_end_does(rules, policy, refuses):
    assert refuses == table(*rules, policy=policy).refuses("FORWARD")


def test_a_chain_that_is_not_there_refuses_nothing():
    assert not iptables.parse("").refuses("INPUT")


def test_dockers_bridges_are_those_that_its_rules_name():
    """The first two as Docker 20.10 writes them, the third as 28 does."""
    found = table(
        "-A FORWARD -o docker0 -j DOCKER",
        "-A FORWARD -o br-0123456789ab -j DOCKER",
        "-A DOCKER-BRIDGE -o br-ffffffffffff -j DOCKER",
        "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -o eth9 -j ACCEPT",
        "-A FORWARD -o eth8 -i eth7 -j DOCKER",
        "-A DOCKER -j RETURN",
    )
    assert ("br-0123456789ab", "br-ffffffffffff", "docker0") == found.docker_bridges()


def test_a_chain_for_the_user_counts_only_if_all_passes_it():
    assert not table("-A FORWARD -i eth0 -j DOCKER-USER").asks_docker_user()
    assert not table("-A DOCKER-USER -j RETURN").asks_docker_user()
