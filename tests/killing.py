"""A piece of work that is killed by SIGKILL before each of its steps, in turn: on the disk, or in
the kernel's network.

The work runs in a process of its own, traced system call by system call (ptrace(2)): what
Python, SQLite and the C library do is all stopped between two of them, as no other way can.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import traceback
from collections.abc import Callable, Collection, Iterator
from itertools import count

_TRACEME, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_SYSGOOD = 1
_INFO_BYTES, _ENTRY, _NUMBER = 96, 1, slice(24, 32)  # struct ptrace_syscall_info
DISK = {  # openat, write, pwrite64, ftruncate, f(data)sync, rename, unlink, link, chmod and kin
    "x86_64": {257, 1, 18, 77, 74, 75, 82, 264, 316, 87, 263, 86, 265, 90, 91, 268},
    "aarch64": {56, 64, 68, 46, 82, 83, 38, 276, 35, 37, 52, 53},
}[platform.machine()]
NETWORK = {  # bpf, sendto, sendmsg, unlink and kin
    "x86_64": {321, 44, 46, 87, 263},
    "aarch64": {280, 206, 211, 35},
}[platform.machine()]
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def at_every_step(prepare: Callable[[], object], work: Callable[[], object]) -> Iterator[int]:
    """Yields after each death, and last after the work was done without one."""
    for step in count():
        prepare()
        survived = killed_before(step, work)
        yield step
        if survived:
            return


def killed_before(step: int, work: Callable[[], object], steps: Collection[int] = DISK) -> bool:
    """False: it was. True: the work was done before it came to that step."""
    pid = os.fork()
    if pid == 0:
        _work_traced(work)
    _wait(pid)
    _trace(_SETOPTIONS, pid, _SYSGOOD)
    while True:
        _trace(_SYSCALL, pid, 0)
        status = _wait(pid)
        if not os.WIFSTOPPED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return True
        if _is_step(pid, steps):
            if step == 0:
                os.kill(pid, signal.SIGKILL)
                _wait(pid)
                return False
            step -= 1


def _work_traced(work: Callable[[], object]) -> None:
    """Never returns."""
    try:
        _trace(_TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
    except BaseException:  # noqa: BLE001, told by the exit status
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _is_step(pid: int, steps: Collection[int]) -> bool:
    info = ctypes.create_string_buffer(_INFO_BYTES)
    _trace(_SYSCALL_INFO, pid, _INFO_BYTES, ctypes.addressof(info))
    return info.raw[0] == _ENTRY and int.from_bytes(info.raw[_NUMBER], "little") in steps


def _trace(request: int, pid: int, address: int, data: int = 0) -> None:
    if request == _SETOPTIONS:
        address, data = 0, address
    if _libc.ptrace(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _wait(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return status
