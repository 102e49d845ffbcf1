"""Probes in Python are what bpf/lib/probe.h says, and what is no probe is told as such."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.routed import packet
from seaway.routed.packet import ANSWER, FORMAT, MAGIC, PORT, QUESTION, Packet, decode

HEADER = Path(__file__).parents[2] / "bpf" / "lib" / "probe.h"
FIELDS = ("magic", "kind", "from", "to", "number", "stamp")
PROGRAM = f"""
#include <stddef.h>
#include <stdio.h>
#include "{HEADER}"
int main(void)
{{
  printf("%d %d %d %d ", PROBE_PORT, PROBE_MAGIC, PROBE_QUESTION, PROBE_ANSWER);
  printf("%zu", sizeof(struct probe));
  {"".join(f'printf(" %zu", offsetof(struct probe, {name}));' for name in FIELDS)}
  return 0;
}}
"""

numbers = st.integers(0, (1 << 32) - 1)
secrets = st.integers(0, (1 << 64) - 1)
packets = st.builds(Packet, st.sampled_from((QUESTION, ANSWER)), numbers, numbers, secrets, secrets)


def test_the_layout_is_that_of_the_c_struct(tmp_path):
    binary = tmp_path / "layout"
    subprocess.run(["gcc", "-x", "c", "-", "-o", binary], input=PROGRAM, text=True, check=True)
    found = [int(text) for text in subprocess.check_output([binary], text=True).split()]

    items = ["I", "B3x", "I", "I", "Q", "Q"]
    offsets = [struct.calcsize("!" + "".join(items[:n])) for n in range(len(items))]
    assert "!" + "".join(items) == FORMAT.format
    assert [PORT, MAGIC, QUESTION, ANSWER, FORMAT.size, *offsets] == found


@given(packets, st.integers(0, 1500))
def test_what_is_encoded_is_decoded_to_the_same(probe, size):
    data = probe.encode(size)
    assert max(size, FORMAT.size) == len(data)
    assert probe == decode(data)


@given(st.binary(max_size=40))
def test_what_is_no_probe_is_told_as_such(data):
    assert data[:4] == struct.pack("!I", MAGIC) or decode(data) is None


@pytest.mark.parametrize("size", range(FORMAT.size))
def test_neither_is_one_that_was_cut_off(size):
    assert packet.decode(Packet(QUESTION, 1, 2, 3, 4).encode()[:size]) is None
