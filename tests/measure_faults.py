"""How much is lost when processes are killed: `python -m tests.measure_faults [--rounds 200] [--seed 0]`.

In turns it kills -9, at a moment drawn by chance, a server that is storing labels, a run that is training, and a command that imports labels, in one
home, and starts each again. Counted as lost: a label that was acknowledged and isn't there afterwards, in its order; half an import; a run that
doesn't go on to its end, or ends with an epoch missing or twice. Prints a line a round and the sums; exit code 1 where anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from curriculum import datasets, intake, people, preparation, runs
from curriculum.app import identity
from curriculum.app.identity import Identity
from curriculum.config import TrainConfig
from curriculum.home import Home
from curriculum.rundir import RunDir
from curriculum.store import Store
from curriculum.vocabulary import LEVELS
from tests.browser import Server
from tests.conftest import CHECKOUT, PIN
from tests.ml import write_folder

DATASET = "textures"
PEOPLE = ("Ann", "Bob", "Cem")
EPOCHS = 20


def killed_server(home: Home, tokens: dict[str, str], examples: list[str], chance: random.Random) -> tuple[int, int]:
    """Labels acknowledged by a server until it is killed; how many of them its database lacks, or has in another order."""
    server = Server(home)
    acknowledged: dict[str, list[str]] = {name: [] for name in PEOPLE}

    def label(name: str) -> None:
        with suppress(OSError):
            while True:
                event = {"id": str(uuid.uuid4()), "action": "label", "example": chance.choice(examples), "level": chance.choice(LEVELS),
                         "answered_at": datetime.now(UTC).isoformat()}  # fmt: skip
                body = json.dumps({"token": tokens[name], "events": [event]}).encode()
                request = urllib.request.Request(f"{server.url}/api/annotations", body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as answer:
                    acknowledged[name] += json.loads(answer.read())["stored"]

    threads = [threading.Thread(target=label, args=(name,)) for name in PEOPLE]
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0.05, 2.0))
    server.kill()
    for thread in threads:
        thread.join()
    lost = 0
    with Store.open(home) as store:
        for name, ids in acknowledged.items():
            there = [str(row[0]) for row in store.rows("SELECT id FROM annotation WHERE annotator = ? ORDER BY seq", [name])]
            known = set(there)
            kept = [each for each in ids if each in known]
            lost += len(ids) - len(kept)
            asked = set(ids)
            lost += [each for each in there if each in asked] != kept
    return sum(map(len, acknowledged.values())), lost


def resumed(home: Home, run: RunDir) -> subprocess.Popen[bytes]:
    with Store.open(home) as store:
        return runs.resume(store, run)


def killed_run(home: Home, run: RunDir, chance: random.Random) -> bool:
    """Starts or resumes a run, and kills it; whether it had ended before."""
    process = runs.launch(run, threads=1) if run.status().state == "queued" else resumed(home, run)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=chance.uniform(1.0, 12.0))
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    process.wait()
    return run.result() is not None


def killed_import(home: Home, folder: Path, examples: list[str], chance: random.Random, number: int) -> int:
    """Kills a command in the middle of an import; 1 where the database has a part of the file."""
    name, file = f"Import{number}", folder / f"import{number}.csv"
    file.write_text(
        "example,annotator,level\n" + "".join(f"{example},{name},{chance.choice(LEVELS)}\n" for example in examples), encoding="utf-8"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "curriculum", "--home", str(home.root), "labels", "import", "--dataset", DATASET, str(file)],
        cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=chance.uniform(0.5, 4.0))
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    process.wait()
    with Store.open(home) as store:
        ((count,),) = store.rows("SELECT count(*) FROM annotation WHERE annotator = ?", [name])
    return int(count not in (0, len(examples)))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    chance, sums = random.Random(given.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name) / "a home, with spaces and ü")
        with Store.open(home) as store:
            datasets.add_dataset(store, DATASET, write_folder(home.root / "pictures", each=20))
            examples = datasets.examples(store, DATASET)["example"].tolist()
            for person in PEOPLE:
                people.register(store, person, PIN)
            tokens = {person: identity.sign(store, Identity(person, DATASET)) for person in PEOPLE}
            settings = TrainConfig(DATASET, weights="none", mode="fine-tune", image_size=32, epochs=EPOCHS)
            run = preparation.prepare(store, settings)
        for number in range(given.rounds):
            victim = ("server", "run", "import")[number % 3]
            if victim == "server":
                acknowledged, lost = killed_server(home, tokens, examples, chance)
                said = f"{acknowledged} labels acknowledged, {lost} lost"
                sums["labels acknowledged"] += acknowledged
            elif victim == "run":
                ended, lost = killed_run(home, run, chance), 0
                epochs = [epoch["epoch"] for epoch in run.epochs()]
                said = f"{len(epochs)} epochs{', ended' if ended else ''}"
                if ended:
                    lost = int(epochs != list(range(1, EPOCHS + 1)))
                    sums["runs ended"] += 1
                    with Store.open(home) as store:
                        intake.ingest(store, run)
                        run = preparation.prepare(store, settings)
            else:
                lost = killed_import(home, Path(name), examples, chance, number)
                said = "half an import" if lost else "all or nothing"
            sums[f"{victim}s killed"] += 1
            sums["lost"] += lost
            print(f"{number + 1:4} {victim}: {said}", flush=True)
        if run.status().state != "queued" and run.result() is None:  # left alone, the last one gets to its end
            resumed(home, run).wait()
            sums["lost"] += int([epoch["epoch"] for epoch in run.epochs()] != list(range(1, EPOCHS + 1)))
            sums["runs ended"] += 1
    print(json.dumps(sums))
    return int(sums["lost"] > 0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
