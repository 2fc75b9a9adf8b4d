"""Label files: all or nothing with a reason for each line, and back out again without loss."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pandas as pd
import pytest

from curriculum.adjudication import decide
from curriculum.comparison_log import export_comparisons
from curriculum.datasets import add_dataset, check_dataset, get_dataset
from curriculum.errors import ConfigError, UnknownError
from curriculum.history import replay
from curriculum.home import Home
from curriculum.label_files import ImportResult, export_labels, import_labels
from curriculum.label_log import export_log
from curriculum.labels import add_annotator, annotate
from curriculum.spreadsheet import to_csv
from curriculum.store import Store
from tests.label_cases import current, filled, levels, log, refusal

HEADER = "example,annotator,level\n"


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a CSV file."""

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return cast(Callable[[str], Path], write)


# -- CSV in --------------------------------------------------------------------------------------


def test_a_csv_is_imported(tiny: Store, csv: Callable[..., Path]) -> None:
    path = csv(HEADER + "a/a0.jpg,Ann,easy\nb/b1.jpg,Bob,hard\n")
    assert import_labels(tiny, "tiny", path) == ImportResult(2, 2, ("Ann", "Bob"))
    assert tiny.rows("SELECT example, annotator, level, source FROM current_label ORDER BY 1") == [
        ("a/a0.jpg", "Ann", "easy", "import"),
        ("b/b1.jpg", "Bob", "hard", "import"),
    ]
    assert tiny.rows("SELECT count(*) FROM annotation WHERE seconds IS NULL") == [(2,)]
    assert import_labels(tiny, "tiny", path) == ImportResult(2, 0, ("Ann", "Bob"))
    assert len(log(tiny)) == 2


def test_bom_spaces_case_crlf_extra_columns_and_blank_lines_do_no_harm(tiny: Store, csv: Callable[..., Path]) -> None:
    text = (
        'note, Level ,EXAMPLE,Annotator\r\n"two\r\nlines",EASY,a/a0.jpg, Ann  Lee \r\n\r\n,2,a/a1.jpg,Ann Lee\r\n,  3 ,a/a2.jpg,Ann Lee\r\n'
    )
    assert import_labels(tiny, "tiny", csv(text, "utf-8-sig")) == ImportResult(3, 3, ("Ann Lee",))
    assert levels(tiny) == {"a/a0.jpg": "easy", "a/a1.jpg": "medium", "a/a2.jpg": "hard"}


def test_times_and_seconds_are_taken(tiny: Store, csv: Callable[..., Path]) -> None:
    head = "example,annotator,level,answered_at,seconds\n"
    rows = [
        "a/a0.jpg,Ann,easy,2026-03-01T12:00:00.123456Z,1.5",
        "a/a1.jpg,Ann,easy,2026-03-01 13:00:00+01:00,0",
        "a/a2.jpg,Ann,easy,2026-03-01T12:00:00,1e2",
        "a/a3.jpg,Ann,easy,,",
    ]
    before = time.time()
    import_labels(tiny, "tiny", csv(head + "\n".join(rows)))
    found = tiny.rows("SELECT epoch_us(answered_at), seconds FROM current_label ORDER BY example")
    noon = 1772366400_000000
    assert found[:3] == [(noon + 123456, 1.5), (noon, 0.0), (noon, 100.0)]
    assert before <= found[3][0] / 1e6 <= time.time()
    assert found[3][1] is None


def test_images_are_found_by_path_then_by_unique_file_name(
    store: Store, tiny_folder: Callable[..., Path], csv: Callable[..., Path]
) -> None:
    root = tiny_folder()
    (root / "b/a0.jpg").write_bytes((root / "b/b0.jpg").read_bytes())
    add_dataset(store, "tiny", root)
    rows = ["a1.jpg", "b\\b1.jpg", "RSSCN7/b/b2.jpg", "photos/c3.jpg", "./a/a0.jpg"]
    import_labels(store, "tiny", csv("example,level\n" + "".join(f"{row},easy\n" for row in rows)), "Ann")
    assert sorted(levels(store)) == ["a/a0.jpg", "a/a1.jpg", "b/b1.jpg", "b/b2.jpg", "c/c3.jpg"]
    assert "line 2: could be any of 2 images (a/a0.jpg, b/a0.jpg), give class/file: 'a0.jpg'" in refusal(
        store, csv(HEADER + "a0.jpg,Ann,easy\n")
    )
    assert "no such image in the data set: 'c/a1.jpg'" in refusal(store, csv(HEADER + "c/a1.jpg,Ann,easy\n"))  # a1 is in another class


def test_the_annotator_argument_fills_what_the_file_leaves_open(tiny: Store, csv: Callable[..., Path]) -> None:
    assert "--annotator" in refusal(tiny, csv("example,level\na/a0.jpg,easy\n"))
    assert import_labels(tiny, "tiny", csv(HEADER + "a/a0.jpg,,easy\na/a1.jpg,Bob,easy\n"), "Ann").annotators == ("Ann", "Bob")


def test_other_spellings_of_a_known_name_are_the_same_person(tiny: Store, csv: Callable[..., Path]) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Andr\u00e9", "easy")
    add_annotator(tiny, "Andr\u00e9")
    rows = "a/a1.jpg,Andre\u0301,easy\na/a2.jpg,ANDR\u00c9,hard\na/a0.jpg,ana,easy\na/a1.jpg,Ana,hard\n"
    assert import_labels(tiny, "tiny", csv(HEADER + rows)).annotators == ("Andr\u00e9", "ana")
    assert "Andr\u00e9 has a/a1.jpg as easy in line 2 and as hard here" in refusal(
        tiny, csv(HEADER + "a/a1.jpg,Andre\u0301,easy\na/a1.jpg,andr\u00e9,hard\n")
    )


def test_decisions_in_a_file_of_levels_become_nobodys_votes(tiny: Store, tmp_path: Path) -> None:
    annotate(tiny, "tiny", "a/a0.jpg", "Ann", "easy")
    decide(tiny, "tiny", "Lee", {"a/a0.jpg": "hard"}, "a roof")
    (tmp_path / "levels.csv").write_bytes(to_csv(replay(tiny, "tiny")))
    done = import_labels(tiny, "tiny", tmp_path / "levels.csv")
    assert (done.read, done.appended, done.decisions) == (2, 0, 1)
    assert "1 of them are a lead's decisions" in done.passed_over()
    assert tiny.rows("SELECT annotator, level FROM current_label") == [("Ann", "easy")]


def test_a_file_name_means_the_image_that_is_there(tiny: Store, csv: Callable[..., Path]) -> None:
    root = get_dataset(tiny, "tiny").root
    (root / "a").rename(root / "d")
    check_dataset(tiny, "tiny")
    import_labels(tiny, "tiny", csv(HEADER + "a0.jpg,Ann,easy\n"))
    assert list(levels(tiny)) == ["d/a0.jpg"]


def test_simulated_names_stay_marked(tiny: Store, csv: Callable[..., Path]) -> None:
    import_labels(tiny, "tiny", csv(HEADER + "a/a0.jpg,simulated-1,easy\na/a0.jpg,Ann,hard\n"))
    assert tiny.rows("SELECT annotator, simulated FROM current_label ORDER BY 1") == [("Ann", False), ("simulated-1", True)]
    assert tiny.rows("SELECT annotator, simulated FROM annotator ORDER BY 1") == [("Ann", False), ("simulated-1", True)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a/a1.jpg,Ann,eassy,,", "unknown level (allowed: easy, medium, hard, or 1, 2, 3): 'eassy'"),
        ("a/a1.jpg,Ann,,,", "unknown level"),
        ("a/a1.jpg,Ann,4,,", "unknown level"),
        ("a/x.jpg,Ann,easy,,", "no such image in the data set: 'a/x.jpg'"),
        (",Ann,easy,,", "the example is empty"),
        ("../a/a1.jpg,Ann,easy,,", "a path that leads out of the data set"),
        ("a/../../a1.jpg,Ann,easy,,", "a path that leads out of the data set"),
        ("/a/a1.jpg,Ann,easy,,", "a path that leads out of the data set"),
        ("C:\\a\\a1.jpg,Ann,easy,,", "a path that leads out of the data set"),
        ("a/a1.jpg,,easy,,", "the annotator is empty"),
        ("a/a1.jpg,   ,easy,,", "the annotator is empty"),
        ("a/a1.jpg,people,easy,,", "this name has a meaning of its own here: 'people'"),
        (f"a/a1.jpg,{'x' * 65},easy,,", "an annotator's name has 1 to 64 printable characters"),
        ("a/a1.jpg,A\x07nn,easy,,", "an annotator's name has 1 to 64 printable characters: 'A\\\\x07nn'"),
        ("a/a0.jpg,Ann,hard,,", "Ann has a/a0.jpg as easy in line 2 and as hard here"),
        ("a0.jpg, Ann ,3,,", "Ann has a/a0.jpg as easy in line 2 and as hard here"),
        ("a/a1.jpg,Ann,easy,yesterday,", "answered_at is no ISO 8601 time: 'yesterday'"),
        ("a/a1.jpg,Ann,easy,now,", "answered_at is no ISO 8601 time: 'now'"),
        ("a/a1.jpg,Ann,easy,2026-02-30,", "answered_at is no ISO 8601 time: '2026-02-30'"),
        ("a/a1.jpg,Ann,easy,01.03.2026,", "answered_at is no ISO 8601 time"),
        ("a/a1.jpg,Ann,easy,,-1", "seconds is no number of 0 or more, with a decimal point: '-1'"),
        ("a/a1.jpg,Ann,easy,,nan", "seconds is no number of 0 or more"),
        ("a/a1.jpg,Ann,easy,,1e999", "seconds is no number of 0 or more"),
        ('a/a1.jpg,Ann,easy,,"3,5"', "seconds is no number of 0 or more, with a decimal point: '3,5'"),
        ("a/a1.jpg,Ann,easy,", "4 fields where the first line has 5"),
        ("a/a1.jpg,Ann,easy,,,", "6 fields where the first line has 5"),
        ("{0.example},Ann,easy,,", "no such image in the data set: '{0.example}'"),
    ],
)
def test_one_bad_row_refuses_the_file_and_says_why(tiny: Store, csv: Callable[..., Path], row: str, reason: str) -> None:
    message = refusal(tiny, csv(f"example,annotator,level,answered_at,seconds\na/a0.jpg,Ann,easy,,\n{row}\n"))
    assert f"line 3: {reason}" in message
    assert "1 of 2 rows" in message
    assert "nothing was imported" in message


def test_all_bad_lines_are_counted_and_the_first_20_listed(tiny: Store, csv: Callable[..., Path]) -> None:
    message = refusal(tiny, csv(HEADER + "a/a0.jpg,Ann,easy\n" + '"x\n.jpg",Ann,easy\n' * 23))
    lines = [text.strip().split(":")[0] for text in message.splitlines()[1:-1]]
    assert lines == [f"line {3 + 2 * n}" for n in range(20)]
    assert message.splitlines()[-1].strip().startswith("and 3 more")
    assert "23 of 24 rows" in message


def test_the_same_row_twice_is_one_label(tiny: Store, csv: Callable[..., Path]) -> None:
    assert import_labels(tiny, "tiny", csv(HEADER + "a/a0.jpg,Ann,easy\na0.jpg,Ann,1\n")) == ImportResult(2, 1, ("Ann",))


def test_a_file_that_is_no_csv_of_labels_is_refused(tiny: Store, csv: Callable[..., Path], tmp_path: Path) -> None:
    assert "isn't UTF-8 text (line 2)" in refusal(tiny, csv(HEADER + "a/a0.jpg,Jürgen,easy\n", "latin-1"))
    assert "isn't UTF-8 text (line 1)" in refusal(tiny, csv(HEADER + "a/a0.jpg,Ann,easy\n", "utf-16"))
    assert "lacks the column level" in refusal(tiny, csv("example,annotator\na/a0.jpg,Ann\n"))
    assert "lacks the column example and the column level" in refusal(tiny, csv(""))
    assert "has the column level twice" in refusal(tiny, csv("example,annotator,level,level\na/a0.jpg,Ann,easy,hard\n"))
    assert "isn't a CSV file (line 2" in refusal(tiny, csv(HEADER + '"a/a0.jpg,Ann,easy\n'))
    assert "can't be read (No such file" in refusal(tiny, tmp_path / "nowhere.csv")
    with pytest.raises(UnknownError, match="no such data set"):
        import_labels(tiny, "nowhere", csv(HEADER))


def test_what_spreadsheets_write_is_taken(tiny: Store, csv: Callable[..., Path]) -> None:
    semicolons = "example;annotator;level;seconds\r\na/a0.jpg;Lee, Ann;easy;1.5\r\na/a1.jpg;'=1;2;\r\n"
    assert import_labels(tiny, "tiny", csv(semicolons, "utf-8-sig")) == ImportResult(2, 2, ("=1", "Lee, Ann"))
    assert import_labels(tiny, "tiny", csv("example\tannotator\tlevel\na/a2.jpg\tLee, Ann\thard")).appended == 1
    assert levels(tiny) == {"a/a0.jpg": "easy", "a/a1.jpg": "medium", "a/a2.jpg": "hard"}
    assert "line 2: seconds is no number of 0 or more, with a decimal point: '1,5'" in refusal(
        tiny, csv("example;annotator;level;seconds\na/a0.jpg;Bob;easy;1,5\n")
    )


def test_a_half_written_file_is_refused(tiny: Store, csv: Callable[..., Path]) -> None:
    whole = HEADER + "a/a0.jpg,Ann,easy\na/a1.jpg,Ann,hard"
    for missing in range(1, len("a/a1.jpg,Ann,hard")):
        assert "line 3: " in refusal(tiny, csv(whole[:-missing]))


def test_a_file_without_rows_imports_nothing(tiny: Store, csv: Callable[..., Path]) -> None:
    assert import_labels(tiny, "tiny", csv(HEADER)) == ImportResult(0, 0, ())


# -- out -----------------------------------------------------------------------------------------


def test_csv_goes_out_and_in_again_without_loss(tiny: Store, other: Store, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "out.csv"
    assert export_labels(filled(tiny), "tiny", path) == 5
    assert import_labels(other, "tiny", path) == ImportResult(5, 5, ("Ann", "Bob", "simulated-1"))
    assert current(other) == current(tiny)
    assert export_labels(other, "tiny", tmp_path / "again.csv") == 5
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["out.csv"]


def test_the_csv_says_what_it_says(tiny: Store, tmp_path: Path) -> None:
    assert export_labels(filled(tiny), "tiny", tmp_path / "out.csv", who="Ann") == 3
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines() == [
        "example,annotator,level,answered_at,seconds",
        "a/a0.jpg,Ann,hard,2026-03-01T15:00:00.423456Z,0.3",
        "a/a1.jpg,Ann,medium,2026-03-01T13:00:00.223456Z,0.1",
        "b/b0.jpg,Ann,hard,2026-03-01T14:00:00.323456Z,0.2",
    ]


def test_who_selects(tiny: Store, tmp_path: Path) -> None:
    filled(tiny)
    counts = {who: export_labels(tiny, "tiny", tmp_path / f"{who}.csv", who=who) for who in ("all", "people", "simulated", "Bob")}
    assert counts == {"all": 5, "people": 4, "simulated": 1, "Bob": 1}
    with pytest.raises(UnknownError, match=r"Got: 'Cem'\. Allowed: all, people, simulated, Ann, Bob, simulated-1"):
        export_labels(tiny, "tiny", tmp_path / "out.csv", who="Cem")


def test_no_cell_is_a_formula_and_every_name_comes_back(store: Store, tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = tiny_folder(("=class", "@b", "c"), per_class=2)
    add_dataset(store, "tiny", root)
    names = ["=1+1", "+1", "-1", "@x", "'=1", "''=1", "'x", "＝1", "O'Neil", '=HYPERLINK("x","y")']
    for name in names:
        annotate(store, "tiny", "=class/=class0.jpg", name, "easy")
    path = tmp_path / "out.csv"
    assert export_labels(store, "tiny", path) == len(names)
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert not cells.map(lambda text: text.startswith(tuple("=+-@＝＋－＠"))).any(axis=None)
    with Store.open(Home(tmp_path / "other")) as other:
        add_dataset(other, "tiny", root)
        assert import_labels(other, "tiny", path).annotators == tuple(sorted(names))
        assert current(other) == current(store)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "json"])
def test_every_format_goes_out_and_in_again_without_loss(tiny: Store, other: Store, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    assert export_labels(filled(tiny), "tiny", path) == 5
    assert import_labels(other, "tiny", path) == ImportResult(5, 5, ("Ann", "Bob", "simulated-1"))
    assert current(other) == current(tiny)


@pytest.mark.parametrize("form", [None, "csv", "jsonl", "parquet", "label-studio", "folders", "links"])
def test_no_export_takes_the_place_of_what_the_program_keeps(tiny: Store, tmp_path: Path, form: str | None) -> None:
    home, exports = filled(tiny).home, list[Callable[..., int]]([export_labels])
    if form not in ("label-studio", "folders", "links"):
        exports += [export_log, export_comparisons]
    for place in (home.database, home.labels / "secret.key", home.labels / "backups" / "mine", home.runs / "a-run"):
        for export in exports:
            with pytest.raises(ConfigError, match="the program keeps its own there"):
                export(tiny, "tiny", place, format=form, overwrite=True)
    assert not home.runs.exists() and not (home.labels / "backups").exists()


def test_an_export_overwrites_only_when_asked(tiny: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"there already.*out\.csv.*--overwrite"):
        export_labels(filled(tiny), "tiny", path)
    assert path.read_text(encoding="utf-8") == "mine"
    assert export_labels(tiny, "tiny", path, overwrite=True) == 5
    assert path.read_text(encoding="utf-8").startswith("example,annotator,level")
    with pytest.raises(ConfigError, match="a folder, not a file"):
        export_labels(tiny, "tiny", tmp_path, overwrite=True)
    with pytest.raises(ConfigError, match="can't be written"):
        export_labels(tiny, "tiny", path / "below.csv")
    with pytest.raises(ConfigError, match="Allowed: csv, jsonl, parquet, label-studio, folders, links"):
        export_labels(tiny, "tiny", tmp_path / "x", format="xlsx")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["home", "out.csv", "set"]
