"""Where a project's files lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


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
