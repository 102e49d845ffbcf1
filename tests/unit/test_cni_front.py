"""The C front as a process, against an agent of a few lines, a dead one and broken ones.

Its places and patience are constants of the build, so these tests build a variant of it whose
socket and spool lie in their own folder.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from seaway.doors.spool import Spooled
from seaway.model import codec
from seaway.model.wire import CniAnswer, CniCall
from waiting import wait

SOURCE = Path(__file__).parents[2] / "cni" / "seaway.c"
CONF = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "seaway"})
WAIT_MS, REPLY_MS = 2000, 2000  # as a slow machine needs to begin and answer

Handler = Callable[[bytes], bytes]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The variant; its folder is where its socket and state lie."""
    folder = tmp_path_factory.mktemp("front")
    (folder / "state").mkdir()
    places = {
        "SOCKET": f'"{folder}/agent.sock"',
        "STATE": f'"{folder}/state"',
        "WAIT_MS": WAIT_MS,
        "REPLY_MS": REPLY_MS,
    }
    defines = [f"-DSEAWAY_{name}={value}" for name, value in places.items()]
    program = folder / "seaway"
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "-Os", *defines, "-o", program, SOURCE], check=True
    )
    return program


@pytest.fixture
def front(built: Path) -> Iterator[Path]:
    yield built
    for path in (built.parent / "state").rglob("*"):
        if path.is_file():
            path.unlink()


def call(
    front: Path, verb: str, stdin: bytes | str = CONF, **env: str | bytes
) -> subprocess.CompletedProcess[bytes]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    whole: dict[str, str | bytes] = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1"} | env
    return subprocess.run(
        [front], input=data, env=whole, capture_output=True, timeout=60, check=False
    )


def error(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(done.stdout)
    assert 1 == done.returncode
    assert {"cniVersion", "code", "msg", "details"} == told.keys()
    return told


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


def answer(stdout: str = "", status: int = 0, stderr: str = "") -> bytes:
    return http(codec.encode(CniAnswer(stdout=stdout, exit=status, stderr=stderr)))


def serve_one(listener: socket.socket, handler: Handler) -> bytes:
    connection, _ = listener.accept()
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        head, _, body = request.partition(b"\r\n\r\n")
        size = next(int(h[16:]) for h in head.split(b"\r\n") if h.startswith(b"Content-Length: "))
        while len(body) < size:
            body += connection.recv(1 << 20)
        with suppress(BrokenPipeError):  # it may have heard enough
            connection.sendall(handler(body))
        return body


@contextmanager
def agent(front: Path, *handlers: Handler) -> Iterator[list[bytes]]:
    """Answers as many calls as there are handlers. Yields the bodies that came."""
    path = front.parent / "agent.sock"
    came: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(60)

        def serve() -> None:
            came.extend(serve_one(listener, handler) for handler in handlers)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield came
        finally:
            thread.join()
            path.unlink()


def spool(front: Path) -> list[Path]:
    return sorted(p for p in (front.parent / "state").rglob("*") if p.is_file())


# ── An agent that answers ──


def test_the_agent_gets_environment_and_input_and_its_answer_comes_back(front: Path) -> None:
    out = '{"cniVersion": "1.0.0",\n\t"name": "\\"a\\\\ü/\\u00e9"}\n'
    with agent(front, lambda _: answer(out, 3, "told\n")) as came:
        done = call(front, "ADD", CNI_IFNAME="eth0", THEIRS='x="\\\n')

    sent = codec.decode(came[0], CniCall)
    assert CONF == sent.stdin
    expected = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    assert expected | {"THEIRS": 'x="\\\n'} == sent.env
    assert (out, "told\n", 3) == (done.stdout.decode(), done.stderr.decode(), done.returncode)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_any_text_reaches_the_agent_and_comes_back(front: Path, sent: str, back: str) -> None:
    with agent(front, lambda _: answer(back)) as came:
        done = call(front, "STATUS", sent)

    assert sent == codec.decode(came[0], CniCall).stdin
    # What comes back is JSON, where an escape says the same as the character.
    assert json.dumps(back).encode() == json.dumps(_unescaped(done.stdout)).encode()


def _unescaped(out: bytes) -> str:
    """Only control characters, and never a backslash, travel as \\uXXXX."""
    text = out.decode()
    for code in (*range(0x20), 0x7F):
        text = text.replace(f"\\u{code:04x}", chr(code))
    return text


@pytest.mark.parametrize(
    "bad",
    [b"\xff", b"\xc3", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80",
     b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"a\x80", b"\xe2\x82"],
)  # fmt: skip
def test_input_that_is_not_utf8_is_refused_with_code_6(front: Path, bad: bytes) -> None:
    stdin = b'{"cniVersion": "0.4.0", "x": "' + bad + b'"}'
    told = error(call(front, "DEL", stdin))

    assert (6, "0.4.0") == (told["code"], told["cniVersion"])
    assert [] == spool(front)


@pytest.mark.parametrize(
    "good", ["\x7f", "\x80", "߿", "ࠀ", "퟿", "", "\uffff", "\U00010000", "\U0010ffff"]
)
def test_the_edges_of_utf8_pass(front: Path, good: str) -> None:
    with agent(front, lambda _: answer()) as came:
        assert 0 == call(front, "DEL", good).returncode
    assert good == codec.decode(came[0], CniCall).stdin


def test_a_variable_that_is_not_utf8_is_an_error_only_if_it_is_of_cni(front: Path) -> None:
    assert 4 == error(call(front, "ADD", CNI_ARGS=b"\xff"))["code"]
    with agent(front, lambda _: answer()) as came:
        assert 0 == call(front, "ADD", THEIRS=b"\xff").returncode
    assert "THEIRS" not in codec.decode(came[0], CniCall).env


def test_a_large_configuration_passes_and_a_huge_one_is_refused(front: Path) -> None:
    large = json.dumps({"x": "\n" * 1_000_000})
    with agent(front, lambda _: answer()) as came:
        assert 0 == call(front, "GC", large).returncode
    assert large == codec.decode(came[0], CniCall).stdin

    told = error(call(front, "GC", b" " * (4 << 20) + b"  "))
    assert (6, "it is larger than 4 MiB") == (told["code"], told["details"])
    assert 4 == error(call(front, "GC", **{f"V{n}": "x" * 120_000 for n in range(10)}))["code"]


def test_an_empty_input_reaches_the_agent(front: Path) -> None:
    with agent(front, lambda _: answer()) as came:
        assert 0 == call(front, "DEL", b"").returncode
    assert "" == codec.decode(came[0], CniCall).stdin


def test_a_refusal_of_the_agents_socket_is_told(front: Path) -> None:
    body = b'{"error": {"kind": "Forbidden", "message": "use \\"root\\"", "cni_code": 103}}'
    with agent(front, lambda _: http(body, "403 Forbidden")):
        told = error(call(front, "DEL"))

    assert 103 == told["code"]
    assert body.decode() == told["details"]
    assert [] == spool(front)


def test_a_defect_of_the_agent_is_code_999(front: Path) -> None:
    with agent(front, lambda _: http(b"500 Internal Server Error", "500 Internal Server Error")):
        assert 999 == error(call(front, "ADD"))["code"]


# ── VERSION ──


@pytest.mark.parametrize(
    ("stdin", "expected"),
    [
        ('{"cniVersion": "0.4.0"}', "0.4.0"),
        ('{"a": {"cniVersion": "0.1.0"}, "b": ["cniVersion"], "cniVersion" :\n"1.0.0"}', "1.0.0"),
        ('{"cniVersion": 7}', "1.1.0"),
        ('{"cniVersion": "a\\"b"}', "1.1.0"),
        ('{"cniVersion": "1.1.1.1.1.1.1.1.1.1"}', "1.1.0"),
        ('{"cniVersion', "1.1.0"),
        ('{"a\\"cniVersion": "1.0.0"}', "1.1.0"),
        ("", "1.1.0"),
    ],
)  # fmt: skip
def test_version_is_answered_without_any_agent(front: Path, stdin: str, expected: str) -> None:
    done = call(front, "VERSION", stdin)

    told = {"cniVersion": expected, "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}
    assert (0, told) == (done.returncode, json.loads(done.stdout))


def test_version_does_not_wait_for_a_person_at_a_terminal(front: Path) -> None:
    master, slave = os.openpty()
    try:
        out = subprocess.run(
            [front], stdin=slave, env={"CNI_COMMAND": "VERSION"}, stdout=subprocess.PIPE,
            timeout=30, check=True,
        ).stdout  # fmt: skip
    finally:
        os.close(master)
        os.close(slave)
    assert "1.1.0" == json.loads(out)["cniVersion"]


# ── A dead agent ──


def test_an_add_waits_for_the_agent_that_comes_back(front: Path) -> None:
    process = subprocess.Popen(
        [front], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"CNI_COMMAND": "ADD"}
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(CONF.encode())
    process.stdin.close()
    with agent(front, lambda _: answer("{}")) as came:
        assert b"{}" == process.stdout.read()
    process.stdout.close()
    assert 0 == process.wait(30)
    assert 0 == codec.decode(came[0], CniCall).tried


STARTING = http(b'{"error": {"message": "starting"}}', "503 Service Unavailable")


def test_an_add_waits_while_the_agent_is_starting(front: Path) -> None:
    with agent(front, lambda _: STARTING, lambda _: STARTING, lambda _: answer("{}")) as came:
        assert b"{}" == call(front, "ADD").stdout
    assert 3 == len(came)
    assert {0} == {codec.decode(body, CniCall).tried for body in came}


def test_an_add_that_a_dying_agent_never_answered_is_asked_again(front: Path) -> None:
    """And says when that was: the agent may have done it before it died."""
    before = time.time_ns()
    dead, late = (lambda _: b""), (lambda _: answer("{}"))
    with agent(front, dead, lambda _: STARTING, dead, late) as came:
        assert b"{}" == call(front, "ADD").stdout

    first, *others = (codec.decode(body, CniCall) for body in came)
    assert 0 == first.tried
    assert before <= others[0].tried <= time.time_ns()
    assert [replace(first, tried=others[0].tried)] * 3 == others


@pytest.mark.parametrize(
    ("verb", "code", "waits"), [("ADD", 11, True), ("CHECK", 11, False), ("STATUS", 50, False)]
)
def test_without_an_agent_an_add_gives_up_and_others_say_so_at_once(
    front: Path, verb: str, code: int, *, waits: bool
) -> None:
    def seconds() -> float:
        """Of one call. Anything may take long on a slow machine, but not each time."""
        start = time.monotonic()
        told = error(call(front, verb))
        took = time.monotonic() - start
        assert (code, "1.0.0") == (told["code"], told["cniVersion"])
        assert "`seaway init`, or `systemctl start seaway`" in told["msg"]
        assert "agent.sock: No such file or directory" in told["details"]
        return took

    limit = WAIT_MS / 1000
    assert seconds() > limit if waits else wait(lambda: seconds() < limit)
    assert [] == spool(front)


def test_a_socket_that_nobody_answers_is_a_dead_agent(front: Path) -> None:
    path = front.parent / "agent.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    try:
        assert 50 == error(call(front, "STATUS"))["code"]
        assert 0 == call(front, "DEL").returncode
    finally:
        path.unlink()
    assert 1 == len(spool(front))


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_without_an_agent_a_del_or_gc_is_kept_whole_and_succeeds(front: Path, verb: str) -> None:
    before = time.time_ns()
    done = call(front, verb, CNI_NETNS="/proc/self/ns/net", CNI_IFNAME="eth0", THEIRS="x")

    assert (0, b"") == (done.returncode, done.stdout)
    (path,) = spool(front)
    kept = codec.decode(path.read_bytes(), Spooled)
    assert CONF == kept.stdin
    assert (verb, "x") == (kept.env["CNI_COMMAND"], kept.env["THEIRS"])
    assert before <= kept.time <= time.time_ns()
    assert Path("/proc/self/ns/net").stat().st_ino == kept.netns_inode
    assert (0o600, 0o700) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)


def test_kept_calls_are_named_in_their_order(front: Path) -> None:
    for n in range(12):
        call(front, "DEL", CNI_CONTAINERID=f"c{n}")

    kept = [codec.decode(p.read_bytes(), Spooled).env["CNI_CONTAINERID"] for p in spool(front)]
    assert [f"c{n}" for n in range(12)] == kept


def test_calls_at_the_same_time_are_all_kept(front: Path) -> None:
    running = []
    for n in range(20):
        process = subprocess.Popen(
            [front], stdin=subprocess.PIPE, env={"CNI_COMMAND": "DEL", "CNI_CONTAINERID": f"c{n}"}
        )
        assert process.stdin
        process.stdin.close()
        running.append(process)
    assert [0] * 20 == [process.wait(60) for process in running]
    assert 20 == len(spool(front))


def test_a_namespace_that_is_gone_is_told_as_0(front: Path) -> None:
    call(front, "DEL", CNI_NETNS="/run/netns/seaway-none")
    assert 0 == codec.decode(spool(front)[0].read_bytes(), Spooled).netns_inode


def test_a_spool_that_cannot_be_written_is_an_error(front: Path) -> None:
    folder = front.parent / "state" / "spool"
    folder.mkdir(exist_ok=True)
    moved = folder.rename(folder.with_name("moved"))
    folder.symlink_to(moved)
    try:
        told = error(call(front, "DEL"))
    finally:
        folder.unlink()
        moved.rename(folder)
    assert 5 == told["code"]
    assert "kept" in told["msg"]


# ── An agent that breaks ──

BROKEN: dict[str, Handler] = {
    "nothing": lambda _: b"",
    "half a head": lambda _: b"HTTP/1.1 200 O",
    "half a body": lambda _: http(b'{"stdout": "', length=500),
    "no length": lambda _: b'HTTP/1.1 200 OK\r\n\r\n{"stdout": "", "exit": 0}',
    "another protocol": lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "bytes": lambda _: os.urandom(3000),
    "too much": lambda _: http(b" " * (5 << 20)),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_call_that_breaks_midway_is_kept_if_it_takes_down_else_told(
    front: Path, how: str
) -> None:
    with agent(front, BROKEN[how]):
        assert 11 == error(call(front, "ADD"))["code"]
    with agent(front, BROKEN[how]):
        assert 50 == error(call(front, "STATUS"))["code"]
    with agent(front, BROKEN[how]):
        assert 0 == call(front, "DEL").returncode
    assert 1 == len(spool(front))


def test_an_agent_that_starts_gets_a_del_later(front: Path) -> None:
    with agent(front, lambda _: http(b"{}", "503 Service Unavailable")):
        assert 0 == call(front, "DEL").returncode
    assert 1 == len(spool(front))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"stdout": 1, "exit": 0}', b'{"stdout": "x"}', b'[{"exit": 0}]']
)  # fmt: skip
def test_an_answer_that_is_not_understood_is_an_error(front: Path, body: bytes) -> None:
    with agent(front, lambda _: http(body)):
        assert 5 == error(call(front, "ADD"))["code"]


def test_an_agent_that_hangs_holds_up_a_runtime_for_a_bounded_time(front: Path) -> None:
    path = front.parent / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        start = time.monotonic()
        assert 11 == error(call(front, "ADD"))["code"]
        assert 0 == call(front, "DEL").returncode
        took = time.monotonic() - start
    path.unlink()

    assert 2 * REPLY_MS / 1000 < took
    assert 1 == len(spool(front))


def test_a_runtime_that_never_closes_our_input_is_not_waited_for_forever(front: Path) -> None:
    with subprocess.Popen(
        [front], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"CNI_COMMAND": "DEL"}
    ) as process:
        assert 1 == process.wait(60)
        assert process.stdout
        assert 6 == json.loads(process.stdout.read())["code"]
