"""Which data sets of torchvision can be fetched by name, and the process that does it.

`torchvision_data` does the work in a process of its own, so that nothing here imports torch. This module starts it, passes on how far it
is, raises its error as ours, and ends it when nobody waits any more.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from curriculum.building import beside
from curriculum.download import Progress
from curriculum.errors import CurriculumError, DatasetError, DownloadError, UnknownError

END_SECONDS = 10.0
"""For the process to remove what it has half-made."""

_PACKAGE = Path(__file__).resolve().parent.parent
_ERRORS: dict[str, type[CurriculumError]] = {kind.__name__: kind for kind in (DatasetError, DownloadError)}


@dataclass(frozen=True)
class Known:
    """A data set for people: its title, what it is, the archive's size, and what comes with the images."""

    title: str
    meaning: str
    megabytes: int
    split: str


KNOWN = {
    "dtd": Known("DTD", "5,640 textures of 47 classes", 625, "train, val and test of its first partition, and all classes of each image"),
    "eurosat": Known("EuroSAT", "27,000 satellite images of 10 classes, 64 x 64 pixels", 94, "nothing, it has no split of its own"),
    "cifar10": Known("CIFAR-10", "60,000 small pictures of 10 classes, 32 x 32 pixels", 170, "its train and test"),
    "cifar100": Known("CIFAR-100", "60,000 small pictures of 100 classes, 32 x 32 pixels", 169, "its train and test"),
}


def fetch(name: str, data_dir: Path, source: Path | None = None, progress: Progress | None = None) -> Path:
    """Bring a data set of torchvision into `data_dir/name`: class folders, and what it says about its split and classes beside them.

    A folder that is there already is left as it is: it is there whole or not at all, and labels may hang on it.

    Args:
        name: one of `KNOWN`.
        source: a copy that is already here, torchvision's root folder or its archive; None: download it.
        progress: called with done, in all (None: unknown), what.

    Returns:
        The folder of class folders.

    Raises:
        UnknownError: no data set of that name.
        DownloadError: it can't be had, or the archive isn't the published one; nothing was left behind.
        DatasetError: the copy isn't what torchvision would have made, or the disk can't take it.
    """
    if name not in KNOWN:
        raise UnknownError("torchvision's data set of that name isn't known here", got=name, allowed=KNOWN)
    folder = (data_dir / name).absolute()
    if folder.is_dir():
        return folder
    command = [sys.executable, "-m", "curriculum.torchvision_data", name, str(folder)]
    if source is not None:
        command += ["--from", str(source.expanduser().absolute())]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log, _process(command, log, folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "error" in said:
                raise _error(said["error"])
            if progress:
                progress(said["done"], said["total"], said["what"])
        if code := process.wait():
            raise DownloadError(f"the process that reads torchvision's data sets ended with code {code}", got=_last_line(log))
    return folder


@contextlib.contextmanager
def _process(command: list[str], log: IO[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own that makes `folder`: Ctrl-C comes here, and from here to it, so that it can clean up undisturbed;
    where it can't, that is done here."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, cwd=_PACKAGE,
                               start_new_session=True)  # fmt: skip
    with process:
        try:
            yield process
        finally:
            for sign in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):  # a library may swallow the first
                if process.poll() is None:
                    process.send_signal(sign)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(END_SECONDS)
            for left in folder.parent.glob(f"{beside(folder, process.pid)}*"):
                shutil.rmtree(left, ignore_errors=True)


def _error(said: dict[str, Any]) -> CurriculumError:
    return _ERRORS[said["kind"]](said["what"], got=said["got"], allowed=said["allowed"], todo=said["todo"])


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    return ([line.strip() for line in log if line.strip()] or ["nothing"])[-1]
