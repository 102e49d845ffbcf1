"""Who has the host's network to himself, and for how long: in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys

OWN_RUN = 'mount -t tmpfs tmpfs /run && exec "$0" -c "$1"'
ENDS_BEFORE_ITS_THREAD = """
import asyncio, threading
from seaway.errors import Conflict
from seaway.presence import alone, alone_while

ended = threading.Event()

def work():
    ended.wait()
    try:
        with alone():
            print("free")
    except Conflict:
        print("held")

async def begin():
    asyncio.get_running_loop().run_in_executor(None, work)
    asyncio.get_running_loop().call_soon(ended.set)

asyncio.run(alone_while(begin))
with alone():
    print("free")
"""


def test_nobody_else_begins_while_a_thread_of_the_last_one_works():
    inside = ["unshare", "--mount", "--propagation=private", "sh", "-c", OWN_RUN]
    done = subprocess.run(
        [*inside, sys.executable, ENDS_BEFORE_ITS_THREAD],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert ["held", "free"] == done.stdout.splitlines()
