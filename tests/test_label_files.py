"""Label files: all or nothing with a reason for each line, and back out again without loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import pytest
from PIL import Image

from curriculum.config import LEVELS, Home
from curriculum.datasets import add_dataset, check_dataset, get_dataset
from curriculum.errors import ConfigError, DatasetError, LabelFileError, UnknownError
from curriculum.label_files import ImportResult, export_labels, import_labels
from curriculum.labels import annotate, append_many
from curriculum.store import Store

HEADER = "example,annotator,level\n"
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a CSV file."""

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return cast(Callable[[str], Path], write)


@pytest.fixture
def other(tmp_path: Path, tiny: Store) -> Iterator[Store]:
    """A second, empty store that has the same images."""
    with Store.open(Home(tmp_path / "other")) as store:
        add_dataset(store, "tiny", get_dataset(tiny, "tiny").root)
        yield store


def current(store: Store) -> list[tuple[Any, ...]]:
    return store.rows("SELECT example, annotator, level, epoch_us(answered_at), seconds, simulated FROM current_label ORDER BY ALL")


def levels(store: Store) -> dict[str, str]:
    return dict(store.rows("SELECT example, level FROM current_label"))


def count(store: Store) -> int:
    return int(store.rows("SELECT count(*) FROM annotation")[0][0])


def refusal(store: Store, path: Path, annotator: str | None = None) -> str:
    """The message of a refused import, which must have left nothing."""
    before = count(store)
    with pytest.raises(LabelFileError) as caught:
        import_labels(store, "tiny", path, annotator)
    assert count(store) == before
    return str(caught.value)


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
    assert count(tiny) == 2


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
        ("a/a1.jpg,Ann,easy,,-1", "seconds is no number of 0 or more: '-1'"),
        ("a/a1.jpg,Ann,easy,,nan", "seconds is no number of 0 or more"),
        ("a/a1.jpg,Ann,easy,,1e999", "seconds is no number of 0 or more"),
        ('a/a1.jpg,Ann,easy,,"3,5"', "seconds is no number of 0 or more: '3,5'"),
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


def test_a_file_without_rows_imports_nothing(tiny: Store, csv: Callable[..., Path]) -> None:
    assert import_labels(tiny, "tiny", csv(HEADER)) == ImportResult(0, 0, ())


# -- folders in ----------------------------------------------------------------------------------


def sorted_folder(store: Store, target: Path, places: dict[str, str]) -> Path:
    """Copies of the images (keys) at these places (values)."""
    root = get_dataset(store, "tiny").root
    for example, place in places.items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).write_bytes((root / example).read_bytes())
    return target


def test_the_reports_folders_are_imported(tiny: Store, tmp_path: Path) -> None:
    places = {"a/a0.jpg": "easy/a/a0.jpg", "b/b1.jpg": "Medium/b1.jpg", "c/c2.jpg": "HARD/c/c2.jpg", "c/c3.jpg": "HARD/renamed.jpg"}
    folder = sorted_folder(tiny, tmp_path / "sorted", places)
    (folder / "easy/.DS_Store").write_bytes(b"x")
    (folder / "easy/Thumbs.db").write_bytes(b"x")
    assert import_labels(tiny, "tiny", folder, "Ann") == ImportResult(4, 4, ("Ann",))
    assert levels(tiny) == {"a/a0.jpg": "easy", "b/b1.jpg": "medium", "c/c2.jpg": "hard", "c/c3.jpg": "hard"}


def test_a_folder_needs_an_annotator_and_the_three_names(tiny: Store, tmp_path: Path) -> None:
    folder = sorted_folder(tiny, tmp_path / "sorted", {"a/a0.jpg": "easy/a0.jpg"})
    assert "--annotator" in refusal(tiny, folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images below easy/, medium/, hard/" in refusal(tiny, empty, "Ann")


def test_bad_files_in_a_folder_refuse_it_by_their_place(tiny: Store, tmp_path: Path) -> None:
    root = get_dataset(tiny, "tiny").root
    folder = sorted_folder(
        tiny, tmp_path / "sorted", {"a/a0.jpg": "easy/a/a0.jpg", "a/a1.jpg": "easy/a/a1.jpg", "a/a2.jpg": "esay/a/a2.jpg"}
    )
    sorted_folder(tiny, folder, {"a/a0.jpg": "hard/a/a0.jpg"})
    (folder / "hard/notes.txt").write_text("x", encoding="utf-8")
    Image.new("RGB", (3, 3)).save(folder / "hard/stranger.jpg")
    (folder / "hard/link.jpg").symlink_to(root / "b/b0.jpg")
    (folder / "hard/linked").symlink_to(root / "b")
    message = refusal(tiny, folder, "Ann")
    assert "esay: a folder that is none of easy, medium, hard" in message
    assert "hard/a/a0.jpg: Ann has a/a0.jpg as easy in easy/a/a0.jpg and as hard here" in message
    assert "hard/notes.txt: not an image file by its name" in message
    assert "hard/stranger.jpg: no such image in the data set: 'stranger.jpg'" in message
    assert "hard/link.jpg: a symbolic link that leads out" in message
    assert "hard/linked: a symbolic link that leads out" in message
    assert "6 of 8 rows" in message


def test_content_decides_where_names_do_not(store: Store, tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = tiny_folder()
    Image.new("RGB", (9, 9), "red").save(root / "b/a0.jpg")
    (root / "c/twin.jpg").write_bytes((root / "c/c1.jpg").read_bytes())
    add_dataset(store, "tiny", root)
    folder = sorted_folder(store, tmp_path / "sorted", {"b/a0.jpg": "easy/a0.jpg"})
    import_labels(store, "tiny", folder, "Ann")
    assert levels(store) == {"b/a0.jpg": "easy"}
    sorted_folder(store, folder, {"c/c1.jpg": "hard/other.jpg"})
    assert "easy/a0.jpg" not in (message := refusal(store, folder, "Ann"))
    assert "hard/other.jpg: could be any of 2 images (c/c1.jpg, c/twin.jpg)" in message


# -- out -----------------------------------------------------------------------------------------


def filled(store: Store) -> Store:
    """Ann and Bob by hand, one simulated, with times, a superseded and an undone answer."""
    for n, (example, level) in enumerate([("a/a0.jpg", "easy"), ("a/a1.jpg", "medium"), ("b/b0.jpg", "hard"), ("a/a0.jpg", "hard")]):
        shown = NOON + timedelta(hours=n)
        annotate(
            store, "tiny", example, "Ann", cast(Literal["easy"], level), shown_at=shown, answered_at=shown + timedelta(seconds=0.1 * n)
        )
    annotate(store, "tiny", "c/c0.jpg", "Bob", "easy")
    annotate(store, "tiny", "c/c1.jpg", "Bob", None)
    simulated = pd.DataFrame({"dataset": "tiny", "example": ["c/c0.jpg"], "annotator": "simulated-1", "level": "hard"})
    append_many(store, simulated, "simulate")
    return store


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
        "example,class,annotator,level,answered_at,seconds",
        "a/a0.jpg,a,Ann,hard,2026-03-01T15:00:00.423456Z,0.3",
        "a/a1.jpg,a,Ann,medium,2026-03-01T13:00:00.223456Z,0.1",
        "b/b0.jpg,b,Ann,hard,2026-03-01T14:00:00.323456Z,0.2",
    ]


def test_who_selects(tiny: Store, tmp_path: Path) -> None:
    filled(tiny)
    counts = {who: export_labels(tiny, "tiny", tmp_path / "out.csv", who=who) for who in ("all", "people", "simulated", "Bob")}
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


def test_labels_of_images_that_are_gone_are_kept_in_the_csv(tiny: Store, tmp_path: Path) -> None:
    (get_dataset(filled(tiny), "tiny").root / "a/a0.jpg").unlink()
    check_dataset(tiny, "tiny")
    assert export_labels(tiny, "tiny", tmp_path / "out.csv") == 5
    assert export_labels(tiny, "tiny", tmp_path / "folders", format="folders") == 3


def test_folders_hold_the_consensus_and_come_back(tiny: Store, other: Store, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()  # an empty one may be there
    assert export_labels(filled(tiny), "tiny", folder, who="people", format="folders") == 4
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert files == ["easy/c/c0.jpg", "hard/a/a0.jpg", "hard/b/b0.jpg", "medium/a/a1.jpg"]
    root = get_dataset(tiny, "tiny").root
    assert (folder / "hard/b/b0.jpg").read_bytes() == (root / "b/b0.jpg").read_bytes()
    assert import_labels(other, "tiny", folder, "Dora").appended == 4
    assert levels(other) == {"a/a0.jpg": "hard", "a/a1.jpg": "medium", "b/b0.jpg": "hard", "c/c0.jpg": "easy"}


def test_an_export_overwrites_no_folder_and_leaves_nothing_half_made(tiny: Store, tmp_path: Path) -> None:
    filled(tiny)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="isn't an empty folder"):
        export_labels(tiny, "tiny", full, format="folders")
    with pytest.raises(ConfigError, match="isn't an empty folder"):
        export_labels(tiny, "tiny", full / "mine.txt", format="folders")
    with pytest.raises(ConfigError, match="a folder, not a file"):
        export_labels(tiny, "tiny", full)
    with pytest.raises(ConfigError, match="can't be written"):
        export_labels(tiny, "tiny", full / "mine.txt" / "out.csv")
    with pytest.raises(ConfigError, match="Allowed: csv, folders"):
        export_labels(tiny, "tiny", full / "x", format=cast(Literal["csv"], "xlsx"))
    (get_dataset(tiny, "tiny").root / "b/b0.jpg").unlink()
    with pytest.raises(DatasetError, match=r"b0\.jpg is gone.*data check"):
        export_labels(tiny, "tiny", tmp_path / "half", format="folders")
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "home", "set"]


def test_2800_images_and_5_annotators_take_under_2_seconds_each_way(store: Store, tmp_path: Path) -> None:
    rows = pd.DataFrame({"example": [f"c{i // 400}/{i:04}.jpg" for i in range(2800)]})
    facts = rows.assign(
        dataset="tiny", width=1, height=1, bytes=1, mtime_ns=1, sha256=rows["example"], format="PNG", present=True, **{"class": "c"}
    )
    with store.write() as cursor:
        cursor.execute("INSERT INTO dataset (dataset, root) VALUES ('tiny', 'nowhere')")
        store.insert(cursor, "example", facts)
    rows["level"] = [LEVELS[i % 3] for i in range(2800)]
    text = pd.concat([rows.assign(annotator=f"person {k}", seconds=0.1 * k) for k in range(5)]).to_csv(index=False)
    (tmp_path / "in.csv").write_text(text, encoding="utf-8")
    started = time.perf_counter()
    assert import_labels(store, "tiny", tmp_path / "in.csv").appended == 14_000
    imported = time.perf_counter()
    assert export_labels(store, "tiny", tmp_path / "out.csv") == 14_000
    assert imported - started < 2
    assert time.perf_counter() - imported < 2
