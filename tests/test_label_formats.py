"""Rows and files: what was written is read again, whatever the texts; what is no file of rows is said to be none."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curriculum.errors import ConfigError, LabelFileError
from curriculum.label_files import COLUMNS
from curriculum.label_formats import MAX_BYTES, TABLE_FORMATS, Format, Row, cut, format_of, read_table, refuse_any, write_table

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
REQUIRED = ("example", "level")


def task(*annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"data": data, "annotations": list(annotations)}


def choice(*levels: str, **more: Any) -> dict[str, Any]:
    return {"result": [{"from_name": "level", "to_name": "image", "type": "choices", "value": {"choices": list(levels)}}], **more}


def written(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", TABLE_FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT, st.none() | TEXT, st.none() | st.floats(0, allow_infinity=False)), max_size=8))
def test_every_text_and_number_comes_back(tmp_path: Path, kind: Format, rows: list[tuple[Any, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=["example", "level", "note", "seconds"]).astype({"seconds": float})
    write_table(tmp_path / "file", kind, frame)
    found = [list(row.cells.values()) for row in read_table(tmp_path / "file", kind, ("example", "level", "note", "seconds"))]
    assert [[*texts, float(seconds) if seconds else None] for *texts, seconds in found] == [list(row) for row in rows]


def test_times_are_utc_with_microseconds_in_every_format(tmp_path: Path) -> None:
    frame = pd.DataFrame({"example": ["x"], "level": ["easy"], "answered_at": [datetime(987, 1, 2, 3, 4, 5, 6, tzinfo=UTC)]})
    for kind in TABLE_FORMATS:
        write_table(tmp_path / kind, kind, frame)
        text = read_table(tmp_path / kind, kind, *COLUMNS)[0].cells["answered_at"]
        assert text is not None
        assert datetime.fromisoformat(text) == datetime(987, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert (tmp_path / "csv").read_text(encoding="utf-8").splitlines()[1] == "x,easy,0987-01-02T03:04:05.000006Z"
    assert pq.read_schema(tmp_path / "parquet").field("answered_at").type == pa.timestamp("us", "UTC")


def test_the_format_is_asked_for_or_told_by_the_path(tmp_path: Path) -> None:
    found = {name: format_of(Path(name), None) for name in ("a.csv", "a.JSONL", "a.ndjson", "a.parquet", "a.json", "a.txt", "a")}
    assert list(found.values()) == ["csv", "jsonl", "jsonl", "parquet", "label-studio", "csv", "csv"]
    assert format_of(tmp_path, None) == "folders"
    assert format_of(tmp_path, "links") == "links"
    assert format_of(Path("a.csv"), "jsonl") == "jsonl"
    with pytest.raises(ConfigError, match=r"Got: 'label-studio'\. Allowed: csv, jsonl, parquet"):
        format_of(Path("a.json"), None, TABLE_FORMATS)


def test_strange_text_is_shown_short_and_printable() -> None:
    assert cut("plain ü") == "plain ü"
    assert cut("a\x1b[31m") == "a\\x1b[31m"
    assert cut("x" * 1000) == "x" * 79 + "…"


def test_problems_are_counted_and_the_first_20_listed() -> None:
    rows = [Row(f"line {n}", {}, "bad" if n > 2 else "") for n in range(1, 26)]
    with pytest.raises(LabelFileError, match=r"file has 23 of 25 rows that can't be taken; nothing was imported") as caught:
        refuse_any(Path("file"), rows)
    assert str(caught.value).splitlines()[1::19] == ["  line 3: bad", "  line 22: bad"]
    assert str(caught.value).splitlines()[-1] == "  and 3 more."
    refuse_any(Path("file"), rows[:2])


# -- JSON Lines ----------------------------------------------------------------------------------


def test_json_lines_are_read_line_by_line(tmp_path: Path) -> None:
    lines = [
        '{"example": "x", "Level": 1, "seconds": 1.5}',
        "",
        '["x"]',
        '{"example": "y", "level": ',
        '{"example": {}, "level": true}',
        "[" * 9999,
    ]
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    rows = read_table(tmp_path / "f", "jsonl", *COLUMNS)
    assert rows[0] == Row("line 1", {"example": "x", "level": "1", "seconds": "1.5"})
    assert [(row.place, row.problem.split(":")[0]) for row in rows[1:]] == [
        ("line 3", "no JSON object"),
        ("line 4", "no JSON object"),
        ("line 5", "example is neither text nor a number"),
        ("line 6", "no JSON object"),
    ]
    with pytest.raises(LabelFileError, match="lacks the column level"):
        read_table(written(tmp_path / "f", {"example": "x"}), "jsonl", REQUIRED)
    (tmp_path / "f").write_bytes(b"")
    assert read_table(tmp_path / "f", "jsonl", REQUIRED) == []


# -- Parquet -------------------------------------------------------------------------------------


def test_parquet_of_other_programs_is_taken(tmp_path: Path) -> None:
    times = pd.to_datetime(["2026-03-01T12:00:00.123456789"] * 2)
    columns = {"Example": pd.Categorical(["x", "y"]), "level": [1, 3], "seconds": [1, None], "answered_at": times, "more": [[1], [2]]}
    pd.DataFrame(columns).to_parquet(tmp_path / "f")
    assert read_table(tmp_path / "f", "parquet", *COLUMNS) == [
        Row("row 1", {"example": "x", "level": "1", "seconds": "1.0", "answered_at": "2026-03-01T12:00:00.123456"}),
        Row("row 2", {"example": "y", "level": "3", "seconds": None, "answered_at": "2026-03-01T12:00:00.123456"}),
    ]


def test_a_damaged_or_cut_file_is_said_to_be_so(tmp_path: Path) -> None:
    pd.DataFrame({"example": ["x"], "level": ["easy"]}).to_parquet(tmp_path / "f")
    whole = (tmp_path / "f").read_bytes()
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], b"PAR1" + b"x" * 99 + b"PAR1"):
        (tmp_path / "f").write_bytes(damaged)
        with pytest.raises(LabelFileError, match="can't be read as Parquet"):
            read_table(tmp_path / "f", "parquet", REQUIRED)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no room on the disk
    with pytest.raises(LabelFileError, match=r"too large.*200,000,001 bytes"):
        read_table(tmp_path / "f", "csv", REQUIRED)
    with pytest.raises(LabelFileError, match="is no file"):
        read_table(tmp_path, "csv", REQUIRED)


# -- Label Studio --------------------------------------------------------------------------------


def test_what_label_studio_exports_is_read(tmp_path: Path) -> None:
    tasks = [
        task(choice("Easy", completed_by={"id": 7, "email": "ana@example.org"}, created_at="2026-03-01T12:00:00.1Z", lead_time=1.5),
             choice("hard", completed_by=7), choice("hard", was_cancelled=True), image="/data/upload/3/0a1b2c3d-a0.jpg"),
        task(choice("hard"), image="/data/local-files/?d=a/%C3%BC%201.jpg"),
        task(choice("hard"), image="s3://bucket/a/a1.jpg", example="a/a2.jpg"),
        task(image="a/a3.jpg"),
    ]  # fmt: skip
    rows = read_table(written(tmp_path / "f", tasks), "label-studio", *COLUMNS)
    assert rows[0].cells == {
        "example": "a0.jpg", "annotator": "ana@example.org", "level": "Easy", "answered_at": "2026-03-01T12:00:00.1Z", "seconds": "1.5",
    }  # fmt: skip
    assert [(row.place, row.cells["example"], row.cells["annotator"]) for row in rows[1:]] == [
        ("task 1, annotation 2", "a0.jpg", "7"),
        ("task 2, annotation 1", "a/ü 1.jpg", None),
        ("task 3, annotation 1", "a/a2.jpg", None),
    ]
    assert not any(row.problem for row in rows)


def test_what_is_no_single_choice_is_a_problem(tmp_path: Path) -> None:
    twice = {"result": choice("easy")["result"] * 2}
    other = {"result": [{"from_name": "quality", "value": {"choices": ["easy"]}}]}
    tasks = [task(each, image="x") for each in (choice("easy", "hard"), choice(), twice, other, {}, {"result": None})]
    rows = read_table(written(tmp_path / "f", [*tasks, {}, 7, task(7)]), "label-studio", *COLUMNS)  # type: ignore[arg-type]
    assert [row.problem for row in rows] == ['no single choice of the control "level"'] * 6 + ["no task with data and annotations"] * 3


@pytest.mark.parametrize(
    ("text", "says"), [("{}", "a list of tasks"), ("[{", "isn't JSON"), ("", "isn't JSON"), ("[" * 9999, "isn't JSON")]
)
def test_what_is_no_list_of_tasks_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "f").write_text(text, encoding="utf-8")
    with pytest.raises(LabelFileError, match=says):
        read_table(tmp_path / "f", "label-studio", *COLUMNS)


def test_tasks_are_what_label_studio_imports(tmp_path: Path) -> None:
    """It refuses a `completed_by` that is no member's number or address, so there is none."""
    frame = pd.DataFrame({"example": ["a/ü 1.jpg"] * 2, "annotator": ["Ann", "Bob"], "level": ["easy", "hard"],
                          "answered_at": [datetime(2026, 3, 1, tzinfo=UTC)] * 2, "seconds": [1.5, math.nan]})  # fmt: skip
    write_table(tmp_path / "f", "label-studio", frame)
    (only,) = json.loads((tmp_path / "f").read_text(encoding="utf-8"))
    assert only["data"] == {"image": "/data/local-files/?d=a/%C3%BC%201.jpg", "example": "a/ü 1.jpg"}
    assert only["annotations"] == [
        {"annotator": "Ann", "created_at": "2026-03-01T00:00:00.000000Z", "lead_time": 1.5, **choice("easy")},
        {"annotator": "Bob", "created_at": "2026-03-01T00:00:00.000000Z", "lead_time": None, **choice("hard")},
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**52], pa.timestamp("ms")),
        pa.array([2**31 - 1], pa.date32()),
        pa.array([253402300800], pa.timestamp("s")),
        pa.array([0], pa.timestamp("us", "Nowhere/Here")),
        pa.array([["easy"]]),
    ],
)
def test_parquet_with_times_of_no_calendar_or_with_lists_is_refused(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"example": ["x"], "level": ["easy"], "answered_at": column}), tmp_path / "f")
    with pytest.raises(LabelFileError, match="nothing was imported"):
        read_table(tmp_path / "f", "parquet", *COLUMNS)


def test_a_name_that_stands_twice_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('{"example": "x", "level": "easy", " Level": "hard"}\n', encoding="utf-8")
    assert read_table(tmp_path / "f", "jsonl", REQUIRED)[0].problem == "level stands there twice"
    pq.write_table(pa.table([["x"], ["easy"], ["hard"]], names=["example", "level", "Level"]), tmp_path / "f")
    with pytest.raises(LabelFileError, match="the column level twice"):
        read_table(tmp_path / "f", "parquet", REQUIRED)


@pytest.mark.parametrize("other", [False, True])
def test_a_few_bytes_of_parquet_that_stand_for_many_are_refused_or_left_alone(tmp_path: Path, other: bool) -> None:
    """One text of 1 MB, and 1,000 rows that refer to it."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), ["x" * 1_000_000])
    table = pa.table({"example": ["x"] * 1000, "level": ["easy"] * 1000 if other else text, "other": text if other else ["x"] * 1000})
    pq.write_table(table, tmp_path / "f", compression="zstd", row_group_size=1000, dictionary_pagesize_limit=10**8)
    assert (tmp_path / "f").stat().st_size < 100_000
    if other:
        assert len(read_table(tmp_path / "f", "parquet", REQUIRED)) == 1000
    else:
        with pytest.raises(LabelFileError, match="too large"):
            read_table(tmp_path / "f", "parquet", REQUIRED)


def test_categories_of_texts_and_of_numbers_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {name: pa.array(values).dictionary_encode() for name, values in {"example": ["x", "y", "x"], "level": [1, None, 3]}.items()}
    )
    pq.write_table(table, tmp_path / "f")
    assert [row.cells for row in read_table(tmp_path / "f", "parquet", REQUIRED)] == [
        {"example": "x", "level": "1"}, {"example": "y", "level": None}, {"example": "x", "level": "3"},
    ]  # fmt: skip
