"""What is installed with the package is what the package imports."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED_AS = {"grpcio": "grpc", "pyyaml": "yaml"}  # where it is not the name of the requirement


def required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.partition(">=")[0] for requirement in project["dependencies"]}
    return {IMPORTED_AS.get(name, name) for name in names}


def imported():
    """The first names of all imports of the package, wherever they stand."""
    for path in (ROOT / "src" / "seaway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield str(node.module).partition(".")[0]


def test_the_package_requires_what_it_imports_and_nothing_else():
    assert required() == {*imported()} - sys.stdlib_module_names - {"seaway"}
