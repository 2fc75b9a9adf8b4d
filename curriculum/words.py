"""How figures are said to people, on pages and at the command line alike."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min")) if hours else ((minutes, "min"), (rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"


def chance(p: float) -> str:
    """A p-value; how far below a thousandth it is means nothing."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def small(p: float) -> str:
    """The same in a column of them."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def interval(value: float, low: float | None, high: float | None, reason: str = "", spec: str = ".2f") -> str:
    """A figure with its interval, or with the reason why it has none."""
    return f"{value:{spec}} " + (f"({reason})" if reason else f"[{low:{spec}}, {high:{spec}}]")


P_OF_PAIRS = "the larger of an exact one for the networks that were trained, where images of the same ground count once, and Student's over the seeds"
"""What the p of a comparison's pairs is, on the page and in the report: see `compare.differences`."""


def figure(value: float | None, spec: str = ".4f") -> str:
    """A number in a format, or the word for one that isn't defined, such as the neighbours of a single image."""
    return "undefined" if value is None else format(value, spec)
