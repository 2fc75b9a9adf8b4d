"""Every error that this package raises on purpose, on one screen; and how a want of memory is known, which each library says in its own way.

An error says what was wrong, what came, what is allowed and what to do next. `exit_code` is what
the command line ends with: 2 when the call was wrong, 1 when the work failed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

NO_MEMORY = ("out of memory", "allocate memory", "not enough memory", "alloc_failed", "bad_alloc")
"""What torch and the libraries below it say in a RuntimeError: of a processor's memory, of CUDA's, cuBLAS's and cuDNN's, of MPS's."""


class CurriculumError(Exception):
    """Base of the tree: `what` went wrong, and, where they help, what came, what is allowed, what to do."""

    exit_code = 1

    def __init__(self, what: str, *, got: object = None, allowed: object = None, todo: str = "") -> None:
        self.what, self.got, self.allowed, self.todo = what, got, allowed, todo
        parts = [what.rstrip(".") + "."]
        if got is not None:
            parts.append(f"Got: {_said(got)}.")
        if allowed is not None:
            listed = allowed if isinstance(allowed, str) else ", ".join(map(str, allowed))  # type: ignore[call-overload]
            parts.append(f"Allowed: {listed}.")
        if todo:
            parts.append(todo.rstrip(".") + ".")
        super().__init__(" ".join(parts))


def _said(got: object) -> str:
    try:
        return repr(got) if isinstance(got, str) else str(got)
    except (RecursionError, ValueError):  # lists in lists without end, a number of thousands of digits
        return f"something of type {type(got).__name__} that can't be shown"


class CallError(CurriculumError):
    """The call itself was wrong: nothing was started, nothing was written."""

    exit_code = 2


class ConfigError(CallError):
    """An option has a value, or two options a combination, that isn't allowed."""


class UnknownError(CallError):
    """A data set, run, annotator, score or example of that name doesn't exist."""


class LabelFileError(CallError):
    """A label file has rows that can't be taken; nothing of it was imported."""


class DatasetError(CurriculumError):
    """A folder can't serve as a data set, or an image of it can't be read."""


class DownloadError(CurriculumError):
    """A download failed or arrived damaged; nothing half-made was left behind."""


class WeightsError(CurriculumError):
    """Pretrained weights can't be had or don't fit the network."""


class StoreError(CurriculumError):
    """The database can't be opened, read or written."""


class StoreLockedError(StoreError):
    """Another process owns the database."""

    def __init__(self, what: str, *, pid: int | None = None, todo: str = "") -> None:
        self.pid = pid
        super().__init__(what, got=f"owner process {pid}" if pid else None, todo=todo)


class IdentityError(CurriculumError):
    """A request's token is forged, too old, or for something else; nothing was read or written."""


class SignInError(CurriculumError):
    """Name and PIN don't fit, or too many didn't before."""


class LabelsMissingError(CurriculumError):
    """The work needs difficulty labels that nobody has given yet."""


class RunError(CurriculumError):
    """A run can't be started, read, resumed or finished."""


class CancelledError(CurriculumError):
    """Somebody asked the work to stop; what was finished is kept."""


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came of: torch says of a full disk only that it couldn't save."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def no_memory(error: BaseException) -> bool:
    """Whether it came of a want of memory, of the machine or of a device. torch isn't imported for it."""
    return any(
        isinstance(each, MemoryError)
        or type(each).__name__ == "OutOfMemoryError"  # torch's
        or (isinstance(each, OSError) and each.errno == errno.ENOMEM)
        or (isinstance(each, RuntimeError) and any(words in str(each).lower() for words in NO_MEMORY))
        for each in behind(error)
    )
