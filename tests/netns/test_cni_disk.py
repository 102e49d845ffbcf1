"""The CNI front, as installed, on a host whose disk is full (in a mount namespace of its own)."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

FRONT = Path(__file__).parents[2] / "build" / "cni" / platform.machine() / "seaway"
CONF = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "seaway"})
FULL = """
mount -t tmpfs -o size=64k,mode=755 tmpfs /var/lib && mount -t tmpfs tmpfs /run || exit 9
CNI_COMMAND=DEL CNI_CONTAINERID=c1 "$0" < "$1" || exit 8
dd if=/dev/zero of=/var/lib/fill bs=4k 2> /dev/null
CNI_COMMAND=DEL CNI_CONTAINERID=c2 "$0" < "$1"
status=$?
find /var/lib/seaway -type f -printf '%f %s\\n' >&2
exit $status
"""


def test_a_del_that_cannot_be_kept_is_an_error_and_leaves_nothing_half(tmp_path):
    (tmp_path / "conf").write_text(CONF)
    inside = ["unshare", "--mount", "--propagation=private", "sh", "-c", FULL]

    done = subprocess.run(
        [*inside, FRONT, tmp_path / "conf"], capture_output=True, text=True, timeout=30, check=False
    )

    told = json.loads(done.stdout)
    assert (1, 5, "1.0.0") == (done.returncode, told["code"], told["cniVersion"])
    assert "No space left on device" in told["details"]
    (kept,) = done.stderr.splitlines()  # the first one, whole; the second one, not at all
    assert not kept.startswith(".")
    assert int(kept.split()[1]) > len(CONF)


LIMITED = """
mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run || exit 9
trap '' XFSZ
ulimit -f 16
CNI_COMMAND=DEL CNI_CONTAINERID=c1 "$0" < "$1"
status=$?
find /var/lib/seaway -type f -printf '%f %s\\n' >&2
exit $status
"""


def test_a_del_of_which_the_end_alone_could_be_written_is_no_kept_one(tmp_path):
    """The disk may have room again when the last bytes are flushed."""
    (tmp_path / "conf").write_text(CONF + " " * 100_000)
    inside = ["unshare", "--mount", "--propagation=private", "sh", "-c", LIMITED]

    done = subprocess.run(
        [*inside, FRONT, tmp_path / "conf"], capture_output=True, text=True, timeout=30, check=False
    )

    assert 1 == done.returncode
    assert 5 == json.loads(done.stdout)["code"]
    assert "" == done.stderr
