"""Questions about a device, by ioctl, as linux/ethtool.h has them."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_IFREQ: Final = struct.Struct("@15sxP16x")  # struct ifreq: a name, and where the question is


def ask(asking: socket.socket, device: str, question: bytes) -> bytes:
    """The kernel writes its answer over the question; `asking`: of any family, in the device's
    namespace. OSError: ENODEV, EOPNOTSUPP.
    """
    memory = array.array("B", question)
    address, _ = memory.buffer_info()
    fcntl.ioctl(asking, _SIOCETHTOOL, _IFREQ.pack(device.encode(), address))
    return memory.tobytes()
