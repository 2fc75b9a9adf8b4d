"""Where a project's files lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from curriculum.errors import ConfigError


@dataclass(frozen=True)
class Home:
    """Where a project's data and labels lie; by default the checkout itself."""

    root: Path

    @classmethod
    def find(cls, given: str | Path | None = None) -> Home:
        """The home that was asked for: `given`, else $CURRICULUM_HOME, else the checkout."""
        chosen = given or os.environ.get("CURRICULUM_HOME") or Path(__file__).resolve().parent.parent
        return cls(Path(chosen).expanduser().absolute())

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def cache(self) -> Path:
        return self.data / "cache"

    @property
    def runs(self) -> Path:
        return self.data / "runs"

    @property
    def labels(self) -> Path:
        return self.root / "labels"

    @property
    def database(self) -> Path:
        return self.labels / "curriculum.duckdb"

    @property
    def snapshot(self) -> Path:
        return self.labels / "snapshot"

    def claim(self, path: Path, *, overwrite: bool = False) -> None:
        """Look whether a person's file may be written to a place; folders that are there are left to who writes into them.

        Raises:
            ConfigError: the program keeps its own there, or a file is there that isn't to be replaced.
        """
        kept = (self.runs, self.data / "recipes", self.cache, self.snapshot, self.labels / "backups", self.database,
                *(self.labels / name for name in ("secret.key", "taken.json", "owner.json")))  # fmt: skip
        real = _real(path)
        beside = real.parent == _real(self.labels) and real.name.startswith((self.database.name, "."))  # its log, what it is copied to
        if beside or any(real.is_relative_to(_real(each)) for each in kept):
            raise ConfigError("the program keeps its own there", got=str(path), todo="Choose another place.")
        if os.path.lexists(path) and not path.is_dir() and not overwrite:
            raise ConfigError("this file is there already", got=str(path), todo="Choose another name, or add --overwrite.")


def _real(path: Path) -> Path:
    """Where a path leads, in small letters: there are disks for which these are the same."""
    return Path(os.path.realpath(path).lower())
