"""Looks for inputs that break a parser: `python -m tests.fuzz [--minutes 10] [--seed 0] [--list] [--found FOLDER] [TARGET ...]`.

Each target (`--list`) gets a process and so many minutes of its own, in which atheris (libFuzzer, guided by the coverage of this package and of
Pillow) feeds it: valid files that the program itself writes, mutated, and bytes as they come. Found is: any error that isn't the package's
own, more than `SLOW_SECONDS` of computing or `MUCH_MEMORY` for an input below 100 KB, a half-made thing taken for whole, a round trip that loses something
(the target's own assertions), a file outside the target's folder written or its forbidden neighbour opened, a process started. Each kind of
failure is kept once, as a traceback with what was fed, below --found. Prints a line a target; exit code 1 where anything was found.

It isn't part of the tests, and atheris isn't among their requirements, as it has wheels for few versions of Python: `pip install atheris==3.0.0`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

SLOW_SECONDS = 5.0
MUCH_MEMORY = 500_000_000
ROOM = 6_000_000_000
"""Address space beyond what the target has when it begins: a request for more fails at once, whatever the machine has."""
SEEDS, SEED_BYTES = 200, (8, 2000)
TARGETS = {
    "labels": "fuzz_labels", "label-parquet": "fuzz_labels", "logs": "fuzz_labels", "folders": "fuzz_labels", "own-tables": "fuzz_labels",
    "recipes": "fuzz_runs", "run-directories": "fuzz_runs", "backups": "fuzz_runs", "caches": "fuzz_runs",
    "archives": "fuzz_files", "downloads": "fuzz_files", "pictures": "fuzz_files", "weights": "fuzz_files",
    "requests": "fuzz_requests", "identities": "fuzz_requests", "words": "fuzz_requests",
}  # fmt: skip
"""Which module of the tests has the target, a function that takes a folder of its own and gives what is called with each input."""
STARTED = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")
CHANGED = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "shutil.rmtree")


class SlowError(BaseException):
    """Raised inside an input that takes too long; nobody's `except Exception` catches it."""


class Watch:
    """Takes down what a target does to files and processes while an input is being tried."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.forbidden = os.path.realpath(folder), os.path.realpath(folder / "outside")
        self.on, self.said = False, ""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or self.said:
            return
        if event in STARTED:
            self.said = f"started a process: {event} {arguments!r:.200}"
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - a Path would open nothing, but is slower
            writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if path.startswith(self.forbidden) or (writes and not path.startswith((self.folder, "/dev/null"))):
                self.said = f"opened {path} outside its folder"
        elif event in CHANGED:
            for each in (
                arguments[1:2] if event in ("os.symlink", "os.link") else arguments[:2]
            ):  # of a relative name nobody knows where it is
                if isinstance(each, str | bytes) and os.fsdecode(each).startswith("/") and not os.fsdecode(each).startswith(self.folder):
                    self.said = f"{event} outside its folder: {each!r:.200}"


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SlowError(f"more than {SLOW_SECONDS} s")


def _where(error: BaseException) -> str:
    """What tells two failures apart: the error's kind and the last line of this package that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(frame.filename).name}-{frame.lineno}" for frame in frames if "/curriculum/" in frame.filename]
    return "-".join([type(error).__name__, *ours[-1:], Path(frames[-1].filename).name, str(frames[-1].lineno)])


def inside(name: str, seconds: float, seed: int, found: Path) -> None:
    """Try one target in this process until its time is over; never returns."""
    try:
        import atheris
    except ImportError as error:
        raise SystemExit("atheris isn't installed here: pip install atheris==3.0.0 (CPython 3.11 to 3.13)") from error
    from curriculum.errors import CurriculumError  # by itself: it has nothing to cover

    with atheris.instrument_imports(include=["curriculum", "PIL"], enable_loader_override=False):
        module = importlib.import_module(f"tests.{TARGETS[name]}")
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    quiet = Path(os.devnull).open("w", errors="backslashreplace")  # noqa: SIM115 - as long as the process lives
    one: Callable[[bytes], None] = getattr(module, name.replace("-", "_"))(folder)
    watch, tried, kinds, begun = Watch(folder), 0, dict[str, int](), time.monotonic()
    signal.signal(signal.SIGPROF, _stop)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))

    def keep(what: str, error: BaseException | None, data: bytes) -> None:
        kinds[what] = kinds.get(what, 0) + 1
        if kinds[what] == 1:
            found.mkdir(parents=True, exist_ok=True)
            place = str(found / re.sub(r"[^A-Za-z0-9_-]+", "-", f"{name}-{what}")[:120])
            Path(f"{place}.bin").write_bytes(data)
            said = "".join(traceback.format_exception(error)) if error else what
            shown = getattr(module, "shown", lambda: "")()
            Path(f"{place}.txt").write_text(f"{said[-20_000:]}\n{shown[:100_000]}\n", encoding="utf-8", errors="backslashreplace")

    def end() -> None:
        print(
            json.dumps({"target": name, "minutes": round((time.monotonic() - begun) / 60, 1), "tried": tried, "found": kinds}), flush=True
        )
        subprocess.run(["rm", "-rf", str(folder)], check=False)
        os._exit(0)

    def attempt(data: bytes) -> None:
        nonlocal tried
        if time.monotonic() - begun > seconds:
            end()
        tried += 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_PROF, SLOW_SECONDS)  # of computing, as the machine may be busy
        watch.on, watch.said = True, ""
        try:
            with redirect_stdout(quiet), redirect_stderr(quiet):
                one(data)
        except CurriculumError:
            pass
        except (Exception, SlowError) as error:
            watch.on = False
            keep(_where(error), error, data)
        finally:
            watch.on = False
            signal.setitimer(signal.ITIMER_PROF, 0)
        if watch.said:
            keep(f"watch-{watch.said[:40]}", RuntimeError(watch.said), data)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > MUCH_MEMORY and tried > 20:
            keep("memory", RuntimeError(f"{grown:,} bytes more than ever before"), data)

    corpus, chance = folder / "corpus", random.Random(seed)
    corpus.mkdir()
    for number in range(SEEDS):
        (corpus / str(number)).write_bytes(chance.randbytes(chance.randint(*SEED_BYTES)))
    flags = f"-seed={seed + 1} -max_len=4000 -artifact_prefix={folder}/ -timeout=300 -rss_limit_mb=0 -verbosity=0"
    atheris.Setup([sys.argv[0], *flags.split(), str(corpus)], attempt)
    atheris.Fuzz()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options.add_argument("--minutes", type=float, default=10.0, help="for each target (default: 10)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--list", action="store_true", help="say what there is")
    options.add_argument("--found", type=Path, default=Path("found"), help="where failures are kept (default: ./found)")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        options.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if given.list:
        print("\n".join(TARGETS))
        return 0
    if given.inside:
        inside(given.targets[0], 60 * given.minutes, given.seed, given.found.absolute())
    bad = False
    for name in given.targets or TARGETS:
        command = [sys.executable, "-m", "tests.fuzz", "--inside", "--minutes", str(given.minutes), "--seed", str(given.seed),
                   "--found", str(given.found), name]  # fmt: skip
        with tempfile.TemporaryFile("w+") as log:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
            last = (done.stdout.strip().splitlines() or [""])[-1]
            if last.startswith("{"):
                print(last, flush=True)
                bad |= bool(json.loads(last)["found"])
            else:  # what no interpreter survives
                log.seek(0)
                print(f"{name}: the process ended with {done.returncode}\n{log.read()[-6000:]}", flush=True)
                bad = True
    return int(bad)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
