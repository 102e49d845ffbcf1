"""The pages say what the code does: every command, error, path, setting and link in them."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from pathlib import Path

import click
import pytest

from seaway import config, errors
from seaway.api.routes import ROUTES
from seaway.bpf.btf import Btf
from seaway.bpf.objects import OBJECTS, read_objects
from seaway.cli.root import COMMANDS, root
from seaway.model import codec
from seaway.model.wire import ErrorReport

KINDS = {
    kind: (error.exit_status, error.http_status, error.cni_code)
    for kind, error in errors.all_kinds().items()
    if error.__module__ == errors.__name__ and error is not errors.SeawayError
}
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language):
    return list(_blocks(language))


def _blocks(language):
    for page in PAGES:
        for found in re.finditer(
            rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            yield pytest.param(
                found[1], id=f"{page.name}:{page.read_text()[: found.start()].count(chr(10)) + 1}"
            )


def rows(page):
    """The cells of every table row, without its head and line."""
    for line in (ROOT / "docs" / page).read_text().splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        if line.startswith("|") and not set(line) <= set("|-"):
            yield cells


def parse(command, words, context=None):
    """Parse a command line as click does, without running it."""
    context = command.make_context(words[0], words[1:], parent=context)
    if isinstance(command, click.Group):
        name, inner, rest = command.resolve_command(context, words[1:])
        parse(inner, [name, *rest], context)


@pytest.mark.parametrize("block", [*blocks("sh"), *blocks("console")])
def test_every_command_line_of_ours_is_one_that_we_understand(block):
    for line in block.splitlines():
        for part in re.split(r"&&|\||>", line):
            words = shlex.split(part.strip().removeprefix("# "), comments=True)
            if words[:1] == ["seaway"]:
                parse(root, words)


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_setting_is_one_that_we_read(block):
    assert config.Config() == config.parse(block)


@pytest.mark.parametrize("block", blocks("json"))
def test_every_answer_is_one_that_we_give(block):
    assert json.loads(block) == codec.to_builtins(codec.decode(block, ErrorReport))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_file_of_the_repository_that_is_named_is_there(page):
    named = r"`((?:src|bpf|cni|docs|tests|scripts|packaging)/[\w./-]+)`"
    for target in re.findall(named, page.read_text()):
        assert (ROOT / target).exists(), target


def test_the_page_of_errors_is_the_tree_of_errors():
    told = {
        row[0]: tuple(map(int, row[1:4]))
        for row in rows("errors.md")
        if len(row) == 5 and row[1].isdigit()
    }

    assert KINDS == told


def test_the_drawing_of_errors_is_the_tree_of_errors():
    drawn = {}
    for line in inspect.getdoc(errors).splitlines():
        if found := re.match(r"[ │├└─]*(\w+) +(\d+) +(\d+) +(\d+)  ", line):
            drawn[found[1]] = tuple(map(int, found.groups()[1:]))

    assert KINDS == drawn


def test_every_error_says_the_same_in_both_places():
    meanings = {row[0]: row[4] for row in rows("errors.md") if len(row) == 5}
    drawing = inspect.getdoc(errors)

    for kind, meaning in meanings.items():
        if kind in KINDS:
            assert re.search(rf"\b{kind} .* {re.escape(meaning)}$", drawing, re.MULTILINE), kind


def test_the_page_of_commands_names_each():
    named = {}
    for row in rows("cli.md"):
        first, *others = row[0].split(", ")
        words = first.split()
        if words and words[0] in COMMANDS:
            named.setdefault(words[0], set()).update(words[1:], others)
    for other in named.pop("attach"):
        named[other] = set()
    expected = {}
    with click.Context(root) as context:
        for name in COMMANDS.keys() - {"attach"}:
            command = root.get_command(context, name)
            expected[name] = set(command.commands) if isinstance(command, click.Group) else set()

    assert expected == named


def test_the_page_of_words_is_in_order():
    words = [row[0] for row in rows("glossary.md")][1:]

    assert sorted(words) == words


def test_the_page_of_architecture_has_a_row_for_every_room():
    source = ROOT / "src" / "seaway"
    rooms = {p.name for p in source.glob("*.py")} - {"__init__.py"}
    rooms |= {f"{p.parent.name}/" for p in source.glob("*/__init__.py")}
    named = {room for row in rows("architecture.md") for room in row[0].split(", ")}

    assert rooms <= named


def test_the_page_of_architecture_says_the_sizes_that_are_checked():
    check = (ROOT / "scripts" / "check-sizes").read_text()
    told = [row[1:] for row in rows("architecture.md") if row[1:] and row[-1].isdigit()]

    assert 7 == len(told)
    assert all(f"{wish}, {wall}" in check or f"= {wall}" in check for wish, wall in told)


def test_the_page_of_the_api_names_every_route():
    named = {row[0] for row in rows("api.md") if "/v1/" in row[0]}

    assert {f"{r.method} {r.path}" for r in ROUTES} == named - {"GET /v1/openapi.yaml"}


def test_the_page_of_settings_shows_every_one():
    (block,) = [param.values[0] for param in blocks("toml")]
    shown = set(re.findall(r"^(\w+) =", block, re.MULTILINE))

    sections = (config.AgentConfig, config.NetworkConfig, config.RoutingConfig)
    assert {key for section in sections for key in section.__struct_fields__} == shown


def test_every_drop_reason_has_a_line():
    (first, *_) = read_objects(OBJECTS).values()
    reasons = {
        n.removeprefix("DROP_").lower() for n in Btf(first).enumeration("drop_reason").values()
    }

    assert reasons - {"none"} == {cells[0] for cells in rows("drops.md")} - {"reason"}
