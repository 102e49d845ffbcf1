"""What every test may ask for: hosts of its own, and proof that the machine was left alone.

A test is marked by its folder. Those that need root are skipped without it, and fail without
it where CI is set: a green run there must have run them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import builds
import machine
from seaway import lab as labs
from seaway.lab import Lab, LabHost, images
from seaway.lab.containerd import Containerd
from seaway.lab.images import Image

HERE = Path(__file__).parent
IMAGES = HERE.parent / "build" / "images"
NEEDS_ROOT = {"bpf", "netns", "e2e", "kernels"}
RUN = f"t{os.getpid()}"  # the labs of this run are named for it

# An example has no deadline: what takes 10 ms here takes 300 where others work beside it.
settings.register_profile(
    "any", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the tests marked soak, and them only")
    parser.addoption("--seed", type=int, help="what a test does at random, it does as by this one")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    soak = config.getoption("--soak")
    for item in items:
        item.add_marker(item.path.relative_to(HERE).parts[0])
    chosen = [item for item in items if soak == (item.get_closest_marker("soak") is not None)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = sorted(chosen, key=lambda item: not item.get_closest_marker("long"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() == 0 or NEEDS_ROOT.isdisjoint(mark.name for mark in item.iter_markers()):
        return
    if os.environ.get("CI"):
        pytest.fail("CI must run this test, which needs root", pytrace=False)
    pytest.skip("needs root")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests told of what they saw: figures that nothing is judged by, and seeds."""
    for report in (
        r for outcome in ("passed", "failed") for r in terminalreporter.getreports(outcome)
    ):
        for _, text in (told for told in report.user_properties if told[0] == "told"):
            terminalreporter.write_line(f"{report.nodeid}: {text}")


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """A line for who runs the tests, shown at the end whether they pass or not."""
    return partial(record_property, "told")


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.soak)], ids=["cpu", "clock"])
def sharp(request: pytest.FixtureRequest) -> bool:
    """Whether the machine is ours alone, so that the wall clock may decide."""
    return bool(request.param)


@pytest.fixture(scope="session", autouse=True)
def machine_untouched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the tests did, they did it in namespaces of their own, and removed those."""
    folders = {item.path.relative_to(HERE).parts[0] for item in request.session.items}
    if os.geteuid() != 0 or NEEDS_ROOT.isdisjoint(folders):
        yield
        return
    before = machine.snapshot()
    yield
    assert before == machine.snapshot()
    assert [] == [name for name in labs.names() if name.startswith(RUN)]


@contextmanager
def labs_of_ours() -> Iterator[Callable[..., Lab]]:
    """Makes labs, by the arguments of `seaway.lab.up` but the name; gone afterwards."""
    with ExitStack() as stack:

        def make(**options: object) -> Lab:
            name = f"{RUN}-{uuid.uuid4().hex[:8]}"
            stack.callback(labs.down, name)
            return labs.up(name, **options)  # type: ignore[arg-type]

        yield make


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """They are gone after the test."""
    with labs_of_ours() as make:
        yield make


@pytest.fixture(scope="module")
def make_module_lab() -> Iterator[Callable[..., Lab]]:
    """They are gone after the tests of the file."""
    with labs_of_ours() as make:
        yield make


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Two hosts on one wire, and the world behind it. No agents."""
    return make_lab(hosts=2, world=True)


@pytest.fixture
def lab_host(make_lab: Callable[..., Lab]) -> LabHost:
    """One host, no agent."""
    return make_lab(hosts=1).hosts[0]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Object files of sources with these changes (`builds`), a folder of them: made once."""
    made: dict[str, Path] = {}

    def build(*changes: dict[str, tuple[str, str]]) -> Path:
        if repr(changes) not in made:
            made[repr(changes)] = builds.build(tmp_path_factory.mktemp("build"), *changes)
        return made[repr(changes)]

    return build


@pytest.fixture(scope="session")
def busybox() -> Image:
    return images.busybox(IMAGES)


@pytest.fixture(scope="session")
def python_image() -> Image:
    return images.python(IMAGES)


@pytest.fixture
def containerd(lab_host: LabHost, busybox: Image) -> Containerd:
    """An engine on `lab_host` that knows busybox, and uses no network yet."""
    engine = Containerd(host=lab_host)
    engine.start()
    engine.load(busybox)
    return engine
