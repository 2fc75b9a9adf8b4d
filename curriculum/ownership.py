"""Which process owns the database: the mark beside it, and what somebody who came second is told.

The lock itself is DuckDB's. The mark, `owner.json`, only gives its holder a name: where it is missing, the error says less, and a command
that could read the app's snapshot waits; one that a killed process left behind is known by its PID.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from curriculum.errors import StoreLockedError
from curriculum.files import write_whole
from curriculum.home import Home

STARTING = "the app, which is starting"
THE_APP = "the app"
"""The owner that stays, and whose snapshot shows what is known now."""


def mark(home: Home, owner: str) -> None:
    """For who holds the database's lock."""
    said = json.dumps({"pid": os.getpid(), "what": owner, "since": time.time()})
    with suppress(OSError):  # a help for others, no more
        write_whole(home.labels / "owner.json", lambda file: file.write_text(said, encoding="utf-8"), sync=False)


def unmark(home: Home) -> None:
    """Take one's own mark away; another process's stays."""
    if marked(home)[0] == os.getpid():
        with suppress(OSError):
            (home.labels / "owner.json").unlink(missing_ok=True)


def marked(home: Home) -> tuple[int | None, str]:
    """PID and name of the last process that owned the database, as far as its mark tells."""
    try:
        found = json.loads((home.labels / "owner.json").read_text(encoding="utf-8"))
        return int(found["pid"]), str(found["what"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None, ""


def owned_by_the_app(home: Home, pid: int | None) -> bool:
    """Whether the process that holds the lock is the app, as its mark says.

    Args:
        pid: the holder's; 0 or None where the system doesn't tell, as of a process in another container: then its mark is believed.
    """
    marked_pid, name = marked(home)
    return name == THE_APP and (not pid or marked_pid in _known_as(pid))


def _known_as(pid: int) -> set[int]:
    """The numbers of a process: in a container it has another one."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("NSpid:"):
                return {pid, *map(int, line.split()[1:])}
    return {pid}


def locked(home: Home, said: str) -> StoreLockedError | None:
    """What to tell somebody to whom DuckDB said this when it should open the database; None: something else than a lock is the matter."""
    if "could not set lock" not in said.lower():
        return None
    marked_pid, name = marked(home)
    found = re.search(r"PID (\d+)", said)
    pid = int(found[1]) if found and int(found[1]) else marked_pid
    name = name if not pid or marked_pid in _known_as(pid) else ""
    todo = "Use its pages" if name == THE_APP else "Wait until that is done"
    what = f"the database {home.database} is open in another process" + (f", {name}" if name else "")
    return StoreLockedError(what, pid=pid, todo=f"{todo}, or stop it first; nothing needs repair.")


def written_by_another(home: Home) -> StoreLockedError:
    """For somebody who has only the snapshot."""
    pid, _ = marked(home)
    what = "the database is open in another process, and this command must write to it"
    return StoreLockedError(what, pid=pid, todo="Do it on the app's page, or stop that process first.")
