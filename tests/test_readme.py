"""The README is a contract: its commands exist, its files exist, every command and module is in it."""

from __future__ import annotations

import re
import shlex

import pytest

from curriculum.cli import parser
from tests.conftest import CHECKOUT

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^python -m curriculum (.+?)(?:\s{2,}#.*)?$", README, flags=re.MULTILINE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    parser().parse_args(shlex.split(command, comments=True))


def test_every_command_is_there() -> None:
    named = {" ".join(command.split()[:2]) for command in COMMANDS} | {command.split()[0] for command in COMMANDS}
    wanted = {
        "app",
        "score",
        "train",
        "compare",
        "data demo",
        "data fetch",
        "data add",
        "data check",
        "data list",
        "labels import",
        "labels export",
    }
    wanted |= {
        "labels summary",
        "labels agreement",
        "labels scale",
        "labels settings",
        "labels simulate",
        "labels replay",
        "labels history",
        "labels backup",
        "labels restore",
        "people list",
        "people add",
        "people role",
        "people reset-pin",
        "runs list",
        "runs show",
        "runs cancel",
        "runs resume",
        "runs delete",
        "runs rename",
        "runs note",
        "runs diff",
        "runs ingest",
        "bench",
        "explain",
    }
    assert wanted <= named


def test_both_installing_commands_are_there() -> None:
    assert "python -m pip install -r requirements.txt && streamlit run annotate_app.py" in README
    command = "pytest -n 3 --dist loadfile"
    assert f"python -m pip install -r requirements-dev.txt && {command}\n" in README
    assert f"\n{command}\n" in (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8"), "the gate runs what the README says"


def test_every_module_has_its_line() -> None:
    modules = {path.name for path in (CHECKOUT / "curriculum").glob("*.py")} - {"__init__.py", "__main__.py"}
    modules |= {path.name for path in (CHECKOUT / "curriculum" / "app").glob("*.py")} - {"__init__.py"}
    assert not [name for name in sorted(modules) if name not in README]


def test_pictures_and_files_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (CHECKOUT / target).exists(), target
