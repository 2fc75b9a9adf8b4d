"""`python -m curriculum doctor`, and the page Health: is everything here as it should be, and if not, what is to be done?

Each check looks at one thing, changes nothing that lasts, and says what it found; one that can't look says why, and the others go on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from curriculum import backup, datasets, people, recipe, recipe_runs
from curriculum.errors import CurriculumError, RunError, StoreLockedError
from curriculum.home import Home
from curriculum.ownership import owned_by_the_app
from curriculum.rundir import all_runs
from curriculum.runs import PACKAGE, worker_environment
from curriculum.schema import SCHEMA_VERSION
from curriculum.store import Store
from curriculum.vocabulary import ARCHITECTURE_TITLE
from curriculum.write_ahead import DAMAGED

GIGABYTE = 1_000_000_000
LEAST_DISK, LEAST_MEMORY = 2 * GIGABYTE, 2 * GIGABYTE
"""A run of RSSCN7 at 256 px writes some 600 MB of decoded images, model and checkpoint; training takes about 2 GB of memory."""
OLDEST_BACKUP = timedelta(days=7)
LEFT_BEHIND = timedelta(hours=1)
"""So old, a temporary file isn't one that is being written."""
AHEAD = timedelta(minutes=5)
NAMED = 5
"""So many of a kind are called by their names."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `detail`: what was found and, where it isn't well, what to do."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Patient:
    """A home, and its database where it can be read: the owner's, the file, or the snapshot of an owner who is another process."""

    home: Home
    store: Store | None
    trouble: str = ""  # why it can't be read
    owner: str = ""  # who has it, where that is another process

    @cached_property
    def machine(self) -> dict[str, Any]:
        """What `curriculum.machine` says, in a process of its own."""
        asked = subprocess.run(
            [sys.executable, "-m", "curriculum.machine"], env=worker_environment(), cwd=PACKAGE, capture_output=True, text=True, timeout=300
        )
        if asked.returncode:
            last = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
            raise RunError(f"torch can't be used: {last}", todo="Install requirements.txt anew")
        said: dict[str, Any] = json.loads(asked.stdout)
        return said


Finding = tuple[bool, str]


def examine(home: Home, store: Store | None = None, *, only: tuple[str, ...] = ()) -> list[Check]:
    """Look at everything, or at the checks of these names.

    Args:
        store: the open database, where this process owns it.
    """
    patient = Patient(home, store) if store else _admit(home)
    try:
        return [_looked(name, look, patient) for name, look in CHECKS.items() if not only or name in only]
    finally:
        if patient.store and not store:
            patient.store.close()


def _admit(home: Home) -> Patient:
    if not home.database.exists():
        return Patient(home, None)
    try:
        return Patient(home, Store.open_to_look(home))
    except StoreLockedError as locked:
        owner = f"process {locked.pid}" if locked.pid else "another process"
        if not owned_by_the_app(home, locked.pid):  # a command, over soon; the snapshot that lies there may be old
            return Patient(home, None, str(locked), owner)
        try:
            return Patient(home, Store.from_snapshot(home), owner=owner)
        except CurriculumError as error:
            return Patient(home, None, str(error), owner)
    except CurriculumError as error:
        return Patient(home, None, str(error))


def _looked(name: str, look: Callable[[Patient], Finding], patient: Patient) -> Check:
    try:
        return Check(name, *look(patient))
    except CurriculumError as error:
        return Check(name, False, str(error))
    except Exception as error:  # whatever is wrong here mustn't hide what else is
        return Check(name, False, f"This couldn't be looked at: {type(error).__name__}: {error}")


# -- the machine ---------------------------------------------------------------------------------


def _libraries(_: Patient) -> Finding:
    pinned = re.findall(r"^([\w.-]+)==(\S+)$", (PACKAGE / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    wrong = []
    for name, wanted in pinned:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if found.partition("+")[0] != wanted:
            wrong.append(f"{name} {found}, not {wanted}")
    python = f"Python {sys.version.partition(' ')[0]}"
    if wrong:
        return False, f"{python}; {_some(wrong)}. To have what was tested: python -m pip install -r requirements.txt"
    return True, f"{python}; all {len(pinned)} libraries have the versions of requirements.txt"


def _device(patient: Patient) -> Finding:
    found = patient.machine
    if found["driver"] and not found["gpu"]:
        return False, (
            f"There is an NVIDIA driver, but torch {found['torch']} (CUDA {found['cuda']}) sees no GPU. Update the driver, or look at "
            "`nvidia-smi` and CUDA_VISIBLE_DEVICES; meanwhile everything is computed on the CPU"
        )
    on = found["gpu"] or f"{found['cores']} cores of {found['cpu']}, no GPU"
    return True, f"{on}; {found['precision']}; torch {found['torch']}"


def _weights(patient: Patient) -> Finding:
    """Of ResNet18, which every command takes by default, and of the other networks that recipes take."""
    wanted = ["resnet18", *sorted(_taken_by_recipes() - {"resnet18"})]
    states: dict[str, list[str]] = {}
    for name in wanted:
        found = patient.machine["weights"][name]
        states.setdefault(found["state"], []).append(f"{ARCHITECTURE_TITLE[name]} ({found['path']})")
    said = []
    if damaged := states.get("damaged"):
        said.append(f"ImageNet's weights are damaged of {', '.join(damaged)}. Delete the file: the next run downloads it anew")
    if there := states.get("there"):
        said.append(f"ImageNet's weights are there, whole, of {', '.join(there)}")
    if lacking := states.get("not there"):
        said.append(f"ImageNet's weights aren't there yet of {', '.join(lacking)}: the first run or recipe that asks for them downloads them. "
                    "Without a network put the file there, or start runs with --weights FILE, none or run:ID")  # fmt: skip
    return not damaged, ". ".join(said)


def _taken_by_recipes() -> set[str]:
    """The networks whose ImageNet weights a recipe begins with at full scale."""
    found = set()
    for made in map(recipe.read, recipe.names()):
        data, earlier = {role.name: role.name for role in made.roles}, {step.name: "earlier-run" for step in made.steps}
        configs = [config for step in made.steps for config in recipe.expand(made, step, "full", data, earlier)]
        found |= {config.architecture for config in configs if config.begins_with == "imagenet"}
    return found


def _memory(_: Patient) -> Finding:
    memory = psutil.virtual_memory()
    said = f"{_gigabytes(memory.available)} of {_gigabytes(memory.total)} are free"
    if memory.available < LEAST_MEMORY:
        return False, f"{said}: too little to train. Close other programs, or take a smaller --image-size and --batch-size"
    return True, said


def _disk(patient: Patient) -> Finding:
    free = {_existing(folder): shutil.disk_usage(_existing(folder)).free for folder in (patient.home.labels, patient.home.data)}
    said = "; ".join(f"{_gigabytes(count)} free at {folder}" for folder, count in free.items())
    if min(free.values()) < LEAST_DISK:
        return (
            False,
            f"{said}. Labels need little, a run about 1 GB: delete old runs (`runs delete`) or {patient.home.cache}, which is made anew",
        )
    return True, said


def _folders(patient: Patient) -> Finding:
    wrong = []
    for folder in (patient.home.labels, patient.home.data):
        try:
            with tempfile.TemporaryFile(dir=_existing(folder)) as file:
                file.write(b"whether it can be written")
        except OSError as error:
            wrong.append(f"{_existing(folder)} can't be written ({error.strerror})")
    secret = patient.home.labels / "secret.key"
    if secret.exists() and secret.stat().st_mode & 0o077:
        wrong.append(f"others of this machine can read {secret}, by which sessions are signed: chmod 600 it")
    return (False, f"{'; '.join(wrong)}. Mend the owner or the permissions") if wrong else (True, f"{patient.home.root} can be written")


def _clock(patient: Patient) -> Finding:
    now = datetime.now(UTC)
    newest = _time(patient.store.rows("SELECT epoch(max(recorded_at)) FROM annotation")[0][0]) if patient.store else None
    if newest and newest > now + AHEAD:
        return False, (
            f"This machine's clock says {now:%Y-%m-%d %H:%M} UTC, but a label was stored at {newest:%Y-%m-%d %H:%M}. The order of labels doesn't "
            "depend on it, their times do: set the clock"
        )
    return True, f"{now:%Y-%m-%d %H:%M} UTC"


def _server(_: Patient) -> Finding:
    settings = tomllib.loads((PACKAGE / ".streamlit" / "config.toml").read_text(encoding="utf-8")).get("server", {})
    address = os.environ.get("STREAMLIT_SERVER_ADDRESS", settings.get("address", "0.0.0.0"))
    guarded = os.environ.get("STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION", str(settings.get("enableXsrfProtection", True))).lower() == "true"
    if not guarded:
        return (
            False,
            "server.enableXsrfProtection is off: other sites' pages could upload files in a lead's name. Take it out of config.toml",
        )
    if address in ("127.0.0.1", "localhost", "::1"):
        return True, f"listens at {address}, so to this machine alone"
    return True, f"listens at {address}: on a network that you don't trust put a proxy with TLS before it (docs/security.md)"


# -- what the team has made ----------------------------------------------------------------------


def _database(patient: Patient) -> Finding:
    if patient.store is None:
        if not patient.trouble:
            return True, "There is none yet: the app's first start makes it"
        return False, f"{patient.trouble} The newest backup: {_newest(patient.home) or 'none'}"
    if kept := _kept(patient.home):
        return False, " ".join(kept)
    rows, version = patient.store.read_all(), patient.store.version()
    what = f"the snapshot of {patient.owner}, which owns the database," if patient.owner else str(patient.home.database)
    said = f"{what} is whole: {sum(rows.values()):,} rows of {len(rows)} tables, {rows.get('annotation', 0):,} of them annotations"
    if version < SCHEMA_VERSION:
        return True, f"{said}; schema version {version}, which the next start lifts to {SCHEMA_VERSION}, with a copy beside it"
    if version > SCHEMA_VERSION:
        return False, f"{said}; schema version {version} is of a newer program than this, which knows {SCHEMA_VERSION}. Update the program"
    return True, f"{said}; schema version {version}"


def _kept(home: Home) -> list[str]:
    """What was lost once, or may have been, and where it is kept."""
    backups, said = home.labels / "backups", []
    if rescued := sorted(map(str, backups.glob(f"{backup.RESCUED}*"))):
        said.append(
            f"The database was lost once, or replaced by an older one, when its snapshot still had more labels. Those are kept: {_some(rescued)}. "
            "Bring them back (`labels restore FOLDER`, or the page Labels), or move that folder away if nothing is missing."
        )
    if torn := sorted(map(str, backups.glob(f"{backup.TORN}*"))):
        said.append(
            f"Files of the last snapshot couldn't be read when the app started; before another took its place, it was kept: {_some(torn)}. Look on "
            "the page Labels whether labels are missing. If so, `labels restore FOLDER` or that page puts what can be read of it in the database's "
            "place, which is kept; if not, move that folder away. And look at the disk."
        )
    if cut := sorted({str(path).removesuffix(".wal") for path in home.labels.glob(f"{home.database.name}{DAMAGED}*")}):
        said.append(
            "The write-ahead log was damaged, by a power cut perhaps, or without its database, and its end was left out when the database was "
            f"opened: the last answers before that may be missing. As it was it lies in {_some(cut)}, with .wal beside. Look on the page Labels, or "
            "with `labels export --log`, at what came last; then move these files away."
        )
    return said


def _backup(patient: Patient) -> Finding:
    newest = _newest(patient.home)
    since = newest.made_at if newest else datetime.fromtimestamp(0, UTC)
    count, first = 0, None
    if patient.store:
        count, oldest = patient.store.rows("SELECT count(*), epoch(min(recorded_at)) FROM annotation WHERE recorded_at > ?", [since])[0]
        first = _time(oldest)
    said = f"the newest is of {newest.made_at:%Y-%m-%d %H:%M} UTC: {newest.folder}" if newest else "none yet"
    if first and datetime.now(UTC) - first > OLDEST_BACKUP:
        return False, (
            f"{said.capitalize()}; {count:,} annotations since are in no backup, the oldest of {first:%Y-%m-%d}. "
            "Make one: `labels backup`, or the page Labels; and keep a copy on another disk"
        )
    return (
        True,
        f"{said}: {count:,} annotation{'s' * (count != 1)} since" if newest else f"{said}: {count:,} annotation{'s' * (count != 1)} so far",
    )


@dataclass(frozen=True)
class _Backup:
    folder: Path
    made_at: datetime

    def __str__(self) -> str:
        return str(self.folder)


def _newest(home: Home) -> _Backup | None:
    found = []
    for manifest in (home.labels / "backups").glob(f"*/{backup.MANIFEST}"):
        try:
            made_at = datetime.fromisoformat(json.loads(manifest.read_text(encoding="utf-8"))["made_at"])
            found.append(_Backup(manifest.parent, made_at))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return max(found, key=lambda each: each.made_at, default=None)


def _people(patient: Patient) -> Finding:
    store = _current(patient)
    everybody = people.list_people(store) if store else []
    leads = [person for person in everybody if person.role == "lead"]
    if not everybody:
        return True, "nobody has signed in yet: the first who does leads"
    if not leads:
        return False, "Nobody leads. Stop the app, then: python -m curriculum people role NAME lead"
    if open_ones := [person.name for person in leads if person.signs_in == "not yet"]:
        return False, f"Who chooses a PIN for {_some(open_ones)} first, leads. Let them do it now, or make them annotators"
    return True, f"{len(everybody)}, of whom {len(leads)} lead{'s' if len(leads) == 1 else ''}"


def _data_sets(patient: Patient) -> Finding:
    store, wrong, good = _current(patient), [], []
    if store is None:
        return True, "none yet"
    for dataset in datasets.list_datasets(store):
        listed = datasets.examples(store, dataset.name)["example"]
        if not dataset.root.is_dir():
            wrong.append(
                f"{dataset.name}: its folder {dataset.root} is gone. Bring it back, or `data add` the new place under another name"
            )
            continue
        there = {f"{class_name}/{file}" for class_name in dataset.classes for file in _names(dataset.root / class_name)}
        missing = listed[~listed.isin(there)]
        if len(missing):
            wrong.append(f"{dataset.name}: {len(missing):,} of {len(listed):,} images are gone, such as {missing.iloc[0]}. Bring them back, "
                         f"or `data check {dataset.name}`; their labels stay")  # fmt: skip
        else:
            good.append(f"{dataset.name} ({len(listed):,} images)")
    return not wrong, "; ".join(wrong + good) or "none yet"


def _runs(patient: Patient) -> Finding:
    states: dict[str, list[str]] = {}
    found = all_runs(patient.home)
    known = {run.run_id for run in found}
    for run in found:
        if not any(run.run_id[: dash.start()] in known for dash in re.finditer("-", run.run_id)):  # a comparison takes care of its own
            states.setdefault(run.status().state, []).append(run.run_id)
    stopped = [run.run_id for run in recipe_runs.all_started(patient.home) if run.status().state == "interrupted"]
    half = [path.name for path in _folders_of(patient.home.runs) if not (path / "config.json").is_file()]
    wrong = []
    if lost := states.get("interrupted", []):
        wrong.append(
            f"{_some(lost)}: the process is gone without a word. `runs resume ID` goes on from the last checkpoint, `runs delete ID` gives up"
        )
    if stopped:
        wrong.append(f"recipe {_some(stopped)}: the process is gone. `recipe resume ID` goes on")
    if half:
        wrong.append(
            f"{_some(half)} in {patient.home.runs}: begun and never finished, or damaged. Without config.json they are no runs: delete them"
        )
    counted = ", ".join(f"{len(ids):,} {state}" for state, ids in sorted(states.items())) or "none yet"
    return not wrong, f"{counted}. {'; '.join(wrong)}" if wrong else counted


def _left_behind(patient: Patient) -> Finding:
    home, old = patient.home, datetime.now().timestamp() - LEFT_BEHIND.total_seconds()
    places = (home.labels, home.labels / "backups", home.data, home.data / "recipes", home.runs, *_folders_of(home.runs))
    found = [path for place in places if place.is_dir() for path in place.iterdir()
             if path.name.startswith(".") and not path.name.startswith(".git") and path.lstat().st_mtime < old]  # fmt: skip
    if found:
        return False, f"Processes that were killed left {_some([str(path) for path in found])}. Nothing uses them: delete them"
    return True, "no temporary files of processes that were killed"


CHECKS: dict[str, Callable[[Patient], Finding]] = {
    "libraries": _libraries,
    "device": _device,
    "weights": _weights,
    "memory": _memory,
    "disk": _disk,
    "folders": _folders,
    "clock": _clock,
    "server": _server,
    "database": _database,
    "backup": _backup,
    "people": _people,
    "data sets": _data_sets,
    "runs": _runs,
    "left behind": _left_behind,
}


# -- words and files -----------------------------------------------------------------------------


def _current(patient: Patient) -> Store | None:
    """The database, where its tables are those that this program knows."""
    return patient.store if patient.store and patient.store.version() == SCHEMA_VERSION else None


def _time(seconds: float | None) -> datetime | None:
    """Since 1970. The driver's own times with a zone want pytz."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def _gigabytes(count: float) -> str:
    return f"{count / GIGABYTE:.1f} GB"


def _existing(folder: Path) -> Path:
    """The folder, or what stands of its path."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _folders_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
