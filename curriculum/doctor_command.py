"""`python -m curriculum doctor`: what `doctor` found, as a document and for people."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from curriculum import doctor
from curriculum.home import Home


def examine(options: argparse.Namespace, home: Home) -> tuple[dict[str, Any], str]:
    checks = doctor.examine(home)
    ill = sum(not check.ok for check in checks)
    lines = [f"{'ok  ' if check.ok else 'LOOK'} {check.name:<12} {check.detail}" for check in checks]
    verdict = f"{ill} of {len(checks)} need a look." if ill else "All is as it should be."
    return {"checks": [asdict(check) for check in checks]}, "\n".join([*lines, verdict])
