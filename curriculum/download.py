"""Fetches one file over a connection that may break: retries, and goes on where it stopped when that is safe.

A partial file is kept only together with a note (`<name>.json`) of the server's own mark for it, an ETag or a date; with
that mark the server itself decides whether the rest still fits. The module knows no data set and checks no content.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from curriculum.errors import CallError, DatasetError, DownloadError
from curriculum.files import NO_ROOM

Progress = Callable[[int, int | None, str], None]  # done, total (None: unknown), what

_BLOCK_BYTES = 256 * 1024
_NUMBER = "[0-9]{1,18}"
_WORTH_RETRYING = (408, 425, 429)


class _TransferError(Exception):
    """A transfer broke off in a way that is worth another try."""


def download(
    url: str,
    part: Path,
    *,
    retries: int,
    backoff_seconds: float,
    timeout_seconds: float,
    limit_bytes: int,
    progress: Progress | None = None,
) -> None:
    """Fetch `url` into `part`, going on from what an earlier call left there.

    Args:
        retries: further tries after a cut connection or a server's failure.
        backoff_seconds: wait before the first retry; doubles with each.
        timeout_seconds: longest silence of the server.
        limit_bytes: a larger file is refused.
        progress: called with bytes so far, bytes in all (None: the server doesn't say), what.

    Raises:
        CallError: not an http or https address.
        DownloadError: it can't be had; `part` is gone unless the next call can go on from it.
    """
    if not url.startswith(("https://", "http://")):
        raise CallError("only http and https can be fetched", got=url, todo="For a local file use --from")
    try:
        for attempt in range(retries + 1):
            try:
                _transfer(url, part, timeout_seconds, limit_bytes, progress)
            except _TransferError as error:
                reason = str(error)
            else:
                return
            if attempt < retries:
                _wait(url, part, backoff_seconds * 2**attempt, reason, progress)
        kept = _resume_point(url, part)[0]
        todo = f"The first {kept:,} bytes are kept: call again to go on" if kept else "Try again later"
        raise DownloadError(f"{url} could not be fetched in {retries + 1} tries", got=reason, todo=todo)
    except BaseException:
        if not _resume_point(url, part)[0]:
            discard(part)
        raise


def discard(part: Path) -> None:
    """Delete a partial file and its note."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(where: Path, kind: type[DatasetError] | type[DownloadError]) -> Iterator[None]:
    """Say a failing disk in our own words, as an error of `kind`."""
    try:
        yield
    except OSError as error:
        full = error.errno in NO_ROOM
        what = f"the disk is full at {where}" if full else f"{where} can't be used ({error})"
        todo = "Free about 1 GB there, or choose another --home" if full else "Check that path's rights and its disk"
        raise kind(what, todo=todo) from error


def _transfer(url: str, part: Path, timeout_seconds: float, limit_bytes: int, progress: Progress | None) -> None:
    """One try: all of the file that isn't there yet."""
    done, mark, total = _resume_point(url, part)
    if done and done == total:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "curriculum", "Accept-Encoding": "identity"})
    if done:
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", mark)
    with _open(request, part, timeout_seconds) as response:
        done, total = _agree(response, part, done)
        with disk_errors(part, DownloadError):
            if not done:
                discard(part)
                _remember(part, url, response, total)
            file = part.open("ab")
        with file:
            while block := _receive(response):
                done += len(block)
                if max(done, total or 0) > limit_bytes:
                    discard(part)
                    raise DownloadError(f"{url} is too large", got=total or done, allowed=f"{limit_bytes:,} bytes")
                _write(file.write, block, part)
                if progress:
                    progress(done, total, "Downloading")
    if total is not None and done != total:
        raise _TransferError(f"the connection ended after {done:,} of {total:,} bytes")


def _open(request: urllib.request.Request, part: Path, timeout_seconds: float) -> http.client.HTTPResponse:
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout_seconds)
    except urllib.error.HTTPError as error:
        answer = f"{error.code} {error.reason}"
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            discard(part)
        elif error.code < 500 and error.code not in _WORTH_RETRYING:
            raise DownloadError(f"the server refuses {request.full_url}", got=answer, todo="Check the address") from error
        raise _TransferError(f"the server answered {answer}") from error
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:  # the last two: of an address to which it was sent on
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"the server of {request.full_url} can't be trusted", got=str(reason)) from error
        raise _TransferError(f"no answer: {reason}") from error
    return response


def _agree(response: http.client.HTTPResponse, part: Path, asked: int) -> tuple[int, int | None]:
    """Where the server really starts, and how long the whole file is."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if re.fullmatch(_NUMBER, length) else None
    span = re.fullmatch(rf"bytes ({_NUMBER})-{_NUMBER}/({_NUMBER})", response.headers.get("Content-Range", ""))
    if not span or int(span[1]) != asked:
        discard(part)
        raise _TransferError("the server sent another part of the file than was asked for")
    return asked, int(span[2])


def _receive(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(f"the connection broke: {error!r}") from error


def _write(write: Callable[[bytes], int], block: bytes, part: Path) -> None:
    try:
        with disk_errors(part, DownloadError):
            write(block)
    except DownloadError:
        discard(part)  # a full disk needs the room
        raise


def _wait(url: str, part: Path, seconds: float, reason: str, progress: Progress | None) -> None:
    if progress:
        done, _, total = _resume_point(url, part)
        progress(done, total, f"Trying again in {seconds:.0f} s: {reason}")
    time.sleep(seconds)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _remember(part: Path, url: str, response: http.client.HTTPResponse, total: int | None) -> None:
    """Note the server's mark of this file; without a strong one (RFC 9110, 13.1.5) nothing could safely be resumed."""
    etag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    mark = ("" if etag.startswith("W/") else etag) or ("" if etag else date)
    if mark and mark.isprintable() and mark.isascii():
        _note(part).write_text(json.dumps({"url": url, "mark": mark, "total": total}), encoding="utf-8")


def _resume_point(url: str, part: Path) -> tuple[int, str, int | None]:
    """Bytes that can be built upon, the server's mark for them, the whole file's length; 0 bytes: start anew."""
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        mark, total = note["mark"], note["total"]
        if note["url"] == url and isinstance(mark, str) and mark.isprintable() and mark.isascii() and (total is None or type(total) is int):
            return part.stat().st_size, mark, total
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return 0, "", None
