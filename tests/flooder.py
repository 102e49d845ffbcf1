"""A member that means harm: by a certificate of the cluster it begins sessions with a neighbour,
says of another host what is old or forged, and comes again whenever it is cut off.

    flooder.py FOLDER NEIGHBOUR ADDRESS VICTIM old|forged    its certificate is in the folder
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from seaway.model.links import LinkState
from seaway.names import ROUTED_PORT
from seaway.routed.keys import HostKeys
from seaway.routed.messages import LAST, Announcement, Signed, encode
from seaway.trust import contexts
from seaway.trust.folder import Folder

MANY = {"old": 20_000, "forged": 100}  # messages of a session


def messages(keys: HostKeys, victim: str, what: str) -> Iterator[bytes]:
    """From before all that the victim said, or what it never did; signed by us, or so it looks."""
    signature = keys.sign(victim.encode())
    for number in range(MANY[what]):
        sequence = number if what == "old" else LAST - number
        body = encode(Signed(sequence, LinkState(victim)))
        data = encode(Announcement(body, signature, 0, keys.credential))
        yield len(data).to_bytes(4) + data


def main(folder: Folder, neighbour: str, address: str, victim: str, what: str) -> None:
    context = contexts.asking(folder)
    keys = HostKeys(folder.host.read_bytes(), folder.authority.read_bytes())
    whole = b"".join(messages(keys, victim, what))
    while True:
        with (
            suppress(OSError),
            socket.create_connection((address, ROUTED_PORT), 5) as plain,
            context.wrap_socket(plain, server_hostname=neighbour) as session,
        ):
            session.sendall(whole)
            while session.recv(1 << 16):
                pass


if __name__ == "__main__":
    main(Folder(Path(sys.argv[1])), *sys.argv[2:])
