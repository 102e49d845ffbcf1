"""Another build of the programs: the same sources with a change, as the next version has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from seaway.bpf.objects import FILES
from seaway.model.kernel import SWEEP

SOURCES = Path(__file__).parents[1] / "bpf"
MACHINE = os.uname().machine
FLAGS = "-O2 -g -target bpf -mcpu=v3 -Wno-unused-parameter"

# A change of code alone, and one of a map's layout.
VERDICT = "return verdict < 0"
OTHER_CODE = {
    f"{file}.bpf.c": (VERDICT, "if (skb->mark == 77)\n\t\treturn TC_ACT_SHOT;\n\t" + VERDICT)
    for file in FILES
    if file not in {"socket", SWEEP}
}
OTHER_LAYOUT = {"lib/endpoint.h": ("__uint(max_entries, 65536)", "__uint(max_entries, 60000)")}


def build(folder: Path, *changes: dict[str, tuple[str, str]]) -> Path:
    """The folder of the object files."""
    sources, objects = folder / "bpf", folder / "objects"
    shutil.copytree(SOURCES, sources)
    objects.mkdir()
    for change in changes:
        for name, (old, new) in change.items():
            text = (sources / name).read_text()
            assert old in text
            (sources / name).write_text(text.replace(old, new))
    include = f"/usr/include/{MACHINE}-linux-gnu"
    for source in sorted(sources.glob("*.bpf.c")):
        made = objects / f"{source.name.removesuffix('.c')}.o"
        command = [
            "clang",
            *FLAGS.split(),
            "-idirafter",
            include,
            "-c",
            str(source),
            "-o",
            str(made),
        ]
        subprocess.run(command, check=True, timeout=60)
    return objects
