"""The programs and maps of this host: loaded once, pinned, adopted by the next agent.

    PIN_FOLDER/<layout>/<map>                     one folder for each layout of the maps
    PIN_FOLDER/state/<map>-<digest>               digest: of that map's own layout
    PIN_FOLDER/<layout>/programs/<name>-<digest>  digest: of the object file and the settings
    PIN_FOLDER/links/<device>-<hook>              see `attachments`
    PIN_FOLDER/uplinks/<device>-<hook>            see `uplinks`
    PIN_FOLDER/sockets/<hook>                     see `sockets`

An agent that finds the pins of its own layout and digest adopts them; other code or settings
bring new programs over the same maps; another layout brings new maps beside the old ones,
which keep carrying packets until the new ones are filled and `attachments` has swapped the
programs. Then `retire` takes away what is old. No moment is without a program. What only the
kernel knows (`STATE`: flows, whom sockets asked) goes from one layout to the next, as long as
its own stays what it is; else it is made again by the packets that need it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from seaway.bpf import abi, libbpf, syscall
from seaway.bpf.btf import Btf, layout_hash, map_hashes
from seaway.errors import HostUnfit
from seaway.kernel import filesystems
from seaway.model.kernel import (
    HOOKS,
    OVERLAY_HOOKS,
    SHAPER_HOOKS,
    SOCKET_HOOKS,
    SWEEP,
    UPLINK_HOOKS,
)
from seaway.names import PIN_FOLDER, STATE_PINS

OBJECTS: Final = Path(__file__).parent / "objects" / os.uname().machine
# By its object file: what is in it.
FILES: Final = {
    **{
        program: (program,)
        for hooks in (HOOKS, UPLINK_HOOKS, OVERLAY_HOOKS, SHAPER_HOOKS)
        for program in hooks.values()
    },
    "socket": SOCKET_HOOKS,
    SWEEP: (SWEEP,),
}
PROGRAMS: Final = tuple(program for programs in FILES.values() for program in programs)
STATE: Final = frozenset(
    (
        *("flows", "inner_flows", "epochs", "budgets", "fragments", "dead"),
        *("sockets", "datagrams", "serving", "turns", "affinities", "associations"),
        *("leaving", "led", "uses", "guests", "counted", "balanced"),
    )
)
LINKS, UPLINKS, SOCKETS = "links", "uplinks", "sockets"

_PROGRAMS: Final = "programs"
_NAME: Final = 15  # characters of a map's name that the kernel keeps
_PROG_INFO = struct.Struct("=II8s")  # struct bpf_prog_info begins with type, id, tag


@dataclass(frozen=True, slots=True)
class Program:
    """In the kernel; `tag` is the kernel's hash of its instructions."""

    name: str
    fd: int
    id: int
    tag: str
    pin: str


class DataPlane:
    """What one build with one layout and one set of settings has in the kernel."""

    def __init__(
        self,
        folder: Path,
        places: Mapping[str, Path],
        maps: Mapping[str, int],
        programs: Mapping[str, Program],
        reasons: Mapping[int, str],
    ) -> None:
        self.folder = folder
        self.pins = folder.parent
        self.layout = folder.name
        self.maps = maps
        self.programs = programs
        self.reasons = reasons
        self._places = places

    @classmethod
    def open(
        cls, settings: abi.Settings, pins: Path = PIN_FOLDER, objects: Path = OBJECTS
    ) -> DataPlane:
        """Adopt what is pinned, load what is not. Attaches nothing."""
        require_bpffs(pins)
        files = read_objects(objects)
        types = {name: Btf(elf) for name, elf in files.items()}
        folder = pins / layout_hash(list(types.values()))
        places = _places(pins, folder, map_hashes(list(types.values())))
        for made in (folder / _PROGRAMS, pins / STATE_PINS):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep_maps(folder / _PROGRAMS, places)
        programs = {
            program.name: program
            for file, elf in files.items()
            for program in _programs(FILES[file], elf, settings, (folder / _PROGRAMS, places))
        }
        maps = {name: syscall.pinned(place) for name, place in sorted(places.items())}
        reasons = next(iter(types.values())).enumeration("drop_reason")
        return cls(folder, places, maps, programs, reasons)

    @property
    def links(self) -> Path:
        """Where the links of attached programs are pinned, of whatever layout."""
        return self.pins / LINKS

    @property
    def uplinks(self) -> Path:
        """The same for the host's own devices."""
        return self.pins / UPLINKS

    @property
    def sockets(self) -> Path:
        """The same for the host's sockets."""
        return self.pins / SOCKETS

    def close(self) -> None:
        """Let go. What is pinned stays."""
        for fd in (*self.maps.values(), *(p.fd for p in self.programs.values())):
            os.close(fd)

    @property
    def pinned(self) -> dict[str, tuple[Path, int]]:
        """By a name that is the same for every build: the path, and a descriptor."""
        folder, programs = self.folder / _PROGRAMS, self.programs.values()
        return {name: (self._places[name], fd) for name, fd in self.maps.items()} | {
            f"{_PROGRAMS}/{p.name}": (folder / p.pin, p.fd) for p in programs
        }

    def retire(self) -> None:
        """Remove the pins of other layouts and programs. Only when nothing runs them."""
        for folder in list(self.pins.iterdir()):
            if folder.name not in {self.layout, LINKS, UPLINKS, SOCKETS, STATE_PINS}:
                remove(folder)
        kept = {path for path, _ in self.pinned.values()}
        for folder in (self.folder / _PROGRAMS, self.pins / STATE_PINS):
            for pin in set(folder.iterdir()) - kept:
                pin.unlink(missing_ok=True)


def _places(pins: Path, folder: Path, digests: Mapping[str, str]) -> dict[str, Path]:
    """Where each map is pinned."""
    return {
        name: pins / STATE_PINS / f"{name}-{digest}" if name in STATE else folder / name
        for name, digest in digests.items()
    }


def probe() -> None:
    """Raise what keeps us from using bpf(2) at all."""
    syscall.probe()


def read_objects(folder: Path) -> dict[str, bytes]:
    """The object files of this build."""
    try:
        return {name: (folder / f"{name}.bpf.o").read_bytes() for name in FILES}
    except FileNotFoundError as error:
        raise HostUnfit(
            f"no BPF program for {os.uname().machine}: {error.filename} is missing",
            "build them with `make build`, or install a wheel of this machine",
        ) from error


def _keep_maps(programs: Path, places: Mapping[str, Path]) -> None:
    """Pin again what lost its pin while nobody was here: the programs still know their maps."""
    by_kernel = {name[:_NAME]: place for name, place in places.items()}
    for pin in programs.iterdir():
        with syscall.closing(syscall.pinned(pin)) as program:
            for number in syscall.maps_of(program):
                with syscall.closing(syscall.map_by_id(number)) as fd:
                    place = by_kernel.get(syscall.map_name(fd))
                    if place and not place.exists():
                        syscall.pin(fd, place)


def _programs(
    names: Iterable[str],
    elf: bytes,
    settings: abi.Settings,
    pins: tuple[Path, Mapping[str, Path]],
) -> list[Program]:
    """Taken from their pins in a folder, or loaded and pinned; so are the maps, each at its own."""
    folder, places = pins
    data = settings.pack()
    digest = sha256(elf + data).hexdigest()[:12]
    paths = {name: folder / f"{name}-{digest}" for name in names}
    missing = [name for name, path in paths.items() if not path.exists()]
    if missing:
        with libbpf.load(elf, places, {".rodata.settings": data}) as loaded:
            for name in missing:
                with syscall.closing(loaded.program(name)) as fd:
                    syscall.pin(fd, paths[name])
    return [describe(name, syscall.pinned(path), path.name) for name, path in paths.items()]


def describe(name: str, fd: int, pin: str = "") -> Program:
    _, number, tag = _PROG_INFO.unpack(syscall.info(fd, _PROG_INFO.size))
    return Program(name, fd, number, tag.hex(), pin)


def require_bpffs(folder: Path) -> None:
    """Raises HostUnfit unless pins can be made in this folder."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not filesystems.has(existing, filesystems.BPFFS):
        raise HostUnfit(
            f"{existing} is no BPF file system, so nothing outlives the agent",
            "expected bpffs: mount -t bpf bpf /sys/fs/bpf",
        )


def remove(folder: Path) -> None:
    """A pin, or a folder of pins."""
    if not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    for pin in list(folder.iterdir()):
        remove(pin)
    folder.rmdir()
