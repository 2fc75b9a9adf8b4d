"""Tables that a spreadsheet opens: what people typed, and names of files, must not become formulas there."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

FORMULA = re.compile(r"'*[=+@＝＋＠－\-\t\r\n]")
"""How a cell begins that a spreadsheet may take for a formula, quoted already or not."""
FIGURE = re.compile(r"[-+]?[\d.,:%()\[\]\s-]*")
"""Text of figures alone, a minus or a dash: nothing to compute with."""


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table with an apostrophe before each text, name of a column and of a row that would be taken for a formula."""
    safe = frame.rename(columns=_quoted, index=_quoted if _may_be_text(frame.index.dtype) else None)
    for place, kind in enumerate(frame.dtypes):
        if _may_be_text(kind) and (texts := frame.iloc[:, place].astype(object)).map(_is_formula).any():
            safe.isetitem(place, texts.map(_quoted).to_numpy(object))
    return safe


def to_csv(frame: pd.DataFrame) -> bytes:
    """A table without its index as CSV, UTF-8, in which a spreadsheet finds no formula. Numbers stay as they are."""
    return without_formulas(frame).to_csv(index=False).encode()


def _may_be_text(kind: Any) -> bool:
    return not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind))


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and bool(FORMULA.match(value)) and not FIGURE.fullmatch(value)


def _quoted(value: Any) -> Any:
    return f"'{value}" if _is_formula(value) else value
