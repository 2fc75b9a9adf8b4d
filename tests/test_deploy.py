"""What docs/deploy holds: an image that has all it needs, a unit and an image file without a finding."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import CHECKOUT

DEPLOY = CHECKOUT / "docs" / "deploy"
CLASSES = ("aGrass", "bField", "cIndustry", "dRiverLake", "eForest", "fResident", "gParking")


def test_what_the_image_copies_is_let_through_and_suffices_to_fetch_rsscn7(tmp_path: Path) -> None:
    image, scenes = tmp_path / "app", tmp_path / "scenes"
    let_through = re.findall(r"^!(\S+)$", (CHECKOUT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE):
        assert source in let_through, f"{source} never reaches the build"
        if (CHECKOUT / source).is_dir():
            shutil.copytree(CHECKOUT / source, image / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (image / target).mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / source, image / target)
    for class_name in CLASSES:
        (scenes / class_name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(scenes / class_name / f"{class_name[0]}001.jpg")
    words = ["--home", str(tmp_path / "team"), "data", "fetch", "rsscn7", "--from", str(scenes), "--json"]
    done = subprocess.run([sys.executable, "-m", "curriculum", *words], cwd=image, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["examples"] == len(CLASSES)


def test_the_dockerfile_has_no_finding() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_the_unit_has_no_finding() -> None:
    unit = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", (DEPLOY / "curriculum.service").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "curriculum.service"
        path.write_text(unit, encoding="utf-8")
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
