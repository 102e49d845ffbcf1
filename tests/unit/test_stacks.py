"""Every program fits on the stack that the oldest kernel gives it; others give more."""

from __future__ import annotations

import subprocess

import pytest
from tests import stacks

from seaway.bpf.objects import FILES, OBJECTS

BUILDS = sorted(OBJECTS.parent.iterdir())
PROGRAMS = [(file, program) for file, programs in FILES.items() for program in programs]
DEEP = """
#define APART __attribute__((noinline))
#define USE(room) asm volatile("" : : "r"(room) : "memory")
static APART int leaf(int a)
{
	return a * a;
}
static APART int below(int a)
{
	char room[300];

	USE(room);
	return leaf(a) + room[a & 63];
}
APART int between(int a)
{
	return (below(a) ^ 3) + leaf(a + 1);
}
__attribute__((section("tc"))) int program(int *a)
{
	char room[200];

	USE(room);
	return between(room[*a & 63]) + leaf(room[0]) + below(room[1]);
}
"""


@pytest.mark.parametrize(("file", "program"), PROGRAMS)
@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)
def test_no_calls_go_deeper_than_the_oldest_kernel_lets_them(build, file, program):
    functions = stacks.read((build / f"{file}.bpf.o").read_bytes())
    chain = stacks.deepest(functions, program)

    assert chain.size <= stacks.MOST, str(chain)


def test_the_deepest_calls_are_found_and_named(tmp_path):
    """Within a section and into another one, of static and of global functions."""
    made = tmp_path / "deep.o"
    clang = ("clang", "-O2", "-target", "bpf", "-mcpu=v3", "-c", "-x", "c", "-", "-o", made)
    subprocess.run(clang, input=DEEP, text=True, check=True, timeout=60)
    chain = stacks.deepest(stacks.read(made.read_bytes()), "program")

    frames = "program (224) > between (32) > below (320) > leaf (32)"
    assert f"{frames}: 608 bytes" == str(chain)
