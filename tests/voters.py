"""The etcd that Seaway runs in lab hosts, as its own tools tell of it."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address

import placed
from seaway import names
from seaway.lab import LabHost
from seaway.lab.hosts import SEAWAY
from seaway.model.seats import url

_CA, _HOST = f"{names.TRUST_FOLDER}/ca.pem", f"{names.TRUST_FOLDER}/host.pem"


def members(host: LabHost, at: IPv4Address | IPv6Address | None = None) -> dict[str, bool]:
    """As this host's member tells them: name, and whether it votes; none while it tells nothing."""
    where = ("--endpoints", url(at or host.address4, names.ETCD_PORT))
    files = ("--cacert", _CA, "--cert", _HOST, "--key", _HOST)
    done = host.call("etcdctl", *files, *where, "member", "list", "-w", "json")
    found = json.loads(done.stdout)["members"] if not done.returncode else ()
    return {m.get("name", ""): not m.get("isLearner", False) for m in found}


def voters(host: LabHost) -> list[str]:
    """As the cluster's record says."""
    return [report.host.name for report in placed.client(host).hosts() if report.voter]


def shown_serial(host: LabHost, of: LabHost, port: int) -> int:
    """Of the certificate that one who asks from this host is shown there."""
    asks = (
        f"openssl s_client -connect {of.address4}:{port} -CAfile {_CA} -cert {_HOST} -key {_HOST}"
    )
    told = host.run("sh", "-c", f"{asks} 2>&1 < /dev/null | openssl x509 -noout -serial")
    return int(told.partition("=")[2], 16)


def pid_of_etcd(host: LabHost) -> str:
    return host.read(names.ETCD_PID_FILE).strip()


def is_created(host: LabHost, network: str) -> bool:
    """By this call, or by an earlier one of which nobody was told whether it was done."""
    made = host.call(SEAWAY, "network", "create", network)
    return not made.returncode or network in networks(host)


def networks(host: LabHost) -> set[str]:
    return {report.network.name for report in placed.client(host).networks()}
