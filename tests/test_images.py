"""Images: what is taken, what is refused and why, exact pixels, one decoding."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curriculum import images
from curriculum.errors import DatasetError
from curriculum.images import Example, decode, index_folder, load_images, open_rgb

Folder = Callable[..., Path]
ORIENTATION = 0x0112


def refused(root: Path) -> dict[str, str]:
    return {rejected.path: rejected.reason for rejected in index_folder(root).rejected}


def taken(root: Path) -> list[str]:
    return [example.example for example in index_folder(root).examples]


def pixels(path: Path) -> list[list[list[int]]]:
    listed: list[list[list[int]]] = np.asarray(open_rgb(path)).tolist()
    return listed


# -- finding -------------------------------------------------------------------------------------


def test_index_finds_classes_and_images_with_their_facts(tiny_folder: Folder) -> None:
    root = tiny_folder(("b", "a"), per_class=2, size=(20, 16))
    index = index_folder(root)
    assert index.root == root.resolve()
    assert index.classes == ("a", "b")
    assert [e.example for e in index.examples] == ["a/a0.jpg", "a/a1.jpg", "b/b0.jpg", "b/b1.jpg"]
    first = index.examples[0]
    assert (first.class_name, first.width, first.height, first.format) == ("a", 20, 16, "JPEG")
    assert first.bytes == (root / "a/a0.jpg").stat().st_size
    assert index.rejected == ()


def test_a_few_files_at_a_time_wait_for_the_threads(tiny_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder()
    (folder / "b" / "b1.jpg").write_bytes(b"")
    whole, handed = index_folder(folder), list[int]()
    run = ThreadPoolExecutor.map

    def counted(pool: ThreadPoolExecutor, work: Callable[[Path], object], paths: list[Path]) -> object:
        handed.append(len(paths))
        return run(pool, work, paths)

    monkeypatch.setattr(images, "TOGETHER", 5)
    monkeypatch.setattr(ThreadPoolExecutor, "map", counted)
    assert index_folder(folder) == whole
    assert handed == [5, 5, 2]


def test_progress_counts_up_to_all_files(tiny_folder: Folder) -> None:
    seen: list[tuple[int, int]] = []
    index_folder(tiny_folder(("a", "b"), per_class=2), progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_known_file_of_the_same_size_and_time_is_not_read_again(tiny_folder: Folder) -> None:
    root = tiny_folder(("a", "b"), per_class=1)
    known = {e.example: replace(e, sha256="known") for e in index_folder(root).examples}
    assert [e.sha256 for e in index_folder(root, known=known).examples] == ["known", "known"]
    os.utime(root / "a/a0.jpg", ns=(1, 1))
    assert [e.sha256 == "known" for e in index_folder(root, known=known).examples] == [False, True]


def test_the_whole_real_set_is_taken(real_or_drawn: Path) -> None:
    index = index_folder(real_or_drawn)
    files = [path.relative_to(real_or_drawn).as_posix() for path in real_or_drawn.glob("*/*.*")]
    assert [e.example for e in index.examples] == sorted(files)
    assert index.rejected == ()
    assert len(index.classes) == 7
    assert len(set(Counter(e.class_name for e in index.examples).values())) == 1
    assert len({e.sha256 for e in index.examples}) == len(files)


def test_names_with_spaces_and_any_script_are_taken(tiny_folder: Folder) -> None:
    root = tiny_folder(("a", "b"), per_class=1)
    (root / "b").rename(root / "Wälder und Flüsse 森")
    (root / "a/a0.jpg").rename(root / "a/ein Bild – №1 'x'.JPG")
    assert taken(root) == ["Wälder und Flüsse 森/b0.jpg", "a/ein Bild – №1 'x'.JPG"]


def test_names_with_control_characters_or_broken_text_are_refused(tiny_folder: Folder) -> None:
    root = tiny_folder(("a", "b", "c"), per_class=2)
    (root / "a/a0.jpg").rename(root / "a/a\n0.jpg")
    (root / "b/b0.jpg").rename(Path(os.fsdecode(os.fsencode(root / "b") + b"/b\xff.jpg")))
    (root / "c").rename(root / "c\t1")
    reasons = refused(root)
    assert sorted(reasons) == ["a/a\\n0.jpg", "b/b\\udcff.jpg", "c\\t1"]
    assert all("control characters" in reason for reason in reasons.values())
    assert taken(root) == ["a/a1.jpg", "b/b1.jpg"]


def test_what_is_no_image_file_is_listed_hidden_files_are_not(tiny_folder: Folder) -> None:
    root = tiny_folder(("a", "b"), per_class=1)
    (root / "a/notes.txt").write_text("x", encoding="utf-8")
    (root / "a/Thumbs.db").write_text("x", encoding="utf-8")
    (root / "a/.hidden.jpg").write_text("x", encoding="utf-8")
    (root / "readme.md").write_text("x", encoding="utf-8")
    (root / "loose.jpg").write_bytes((root / "a/a0.jpg").read_bytes())
    (root / "a/more").mkdir()
    (root / "a/more/deep.jpg").write_bytes((root / "a/a0.jpg").read_bytes())
    os.mkfifo(root / "b/pipe.jpg")
    reasons = refused(root)
    assert sorted(reasons) == ["a/more", "a/notes.txt", "b/pipe.jpg", "loose.jpg"]
    assert "folder inside a class folder" in reasons["a/more"]
    assert "not an image file by its name" in reasons["a/notes.txt"]
    assert reasons["b/pipe.jpg"] == "not a regular file"
    assert "no class" in reasons["loose.jpg"]


def test_links_inside_are_followed_links_out_broken_and_circular_ones_refused(tiny_folder: Folder) -> None:
    root, outside = tiny_folder(("a", "b"), per_class=1), tiny_folder(("x", "y"), per_class=1, name="outside")
    (root / "a/inside.jpg").symlink_to("../b/b0.jpg")
    (root / "c").symlink_to("b")
    (root / "a/out.jpg").symlink_to(outside / "x/x0.jpg")
    (root / "d").symlink_to(outside / "x")
    (root / "a/broken.jpg").symlink_to("nowhere.jpg")
    (root / "a/circle.jpg").symlink_to("circle.jpg")
    (root / "e").symlink_to("e")
    assert taken(root) == ["a/a0.jpg", "a/inside.jpg", "b/b0.jpg", "c/b0.jpg"]
    reasons = refused(root)
    assert sorted(reasons) == ["a/broken.jpg", "a/circle.jpg", "a/out.jpg", "d"]
    assert "leads out" in reasons["a/out.jpg"]
    assert "leads out" in reasons["d"]
    assert reasons["a/broken.jpg"] == reasons["a/circle.jpg"] == "a broken link"


def test_a_folder_that_cannot_serve_is_an_error_that_says_so(tiny_folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a folder"):
        index_folder(tmp_path / "nowhere")
    one = tiny_folder(("a",), per_class=2, name="one")
    (one / "b").mkdir()
    (one / "b/broken.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"at least two class folders.*b/broken\.jpg: empty file"):
        index_folder(one)
    with pytest.raises(DatasetError, match=r"differ only by case.*Grass and grass"):
        index_folder(tiny_folder(("Grass", "grass", "b"), name="twins"))


# -- verifying -----------------------------------------------------------------------------------


def test_damaged_files_are_refused_with_the_reason(tiny_folder: Folder) -> None:
    root = tiny_folder(("a", "b"), per_class=1, size=(64, 64))
    whole = (root / "a/a0.jpg").read_bytes()
    (root / "a/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "a/empty.jpg").write_bytes(b"")
    (root / "a/page.jpg").write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
    Image.new("RGB", (8, 8)).save(root / "a/animation.jpg", "GIF")
    reasons = refused(root)
    assert reasons == {
        "a/animation.jpg": "not a readable JPEG, PNG, TIFF or WebP image",
        "a/cut.jpg": reasons["a/cut.jpg"],
        "a/empty.jpg": "empty file (0 bytes)",
        "a/page.jpg": "not a readable JPEG, PNG, TIFF or WebP image",
    }
    assert "truncated" in reasons["a/cut.jpg"]


def test_too_many_pixels_are_refused_by_the_header(tiny_folder: Folder) -> None:
    root = tiny_folder(("a", "b"), per_class=1)
    Image.new("1", (10_001, 10_000)).save(root / "a/huge.png")
    Image.new("1", (20_000, 10_000)).save(root / "a/bomb.png")
    reasons = refused(root)
    assert reasons["a/huge.png"] == "damaged: 10001 x 10000 pixels are more than 100 million"
    assert "exceeds limit" in reasons["a/bomb.png"]
    with pytest.raises(DatasetError, match="more than 100 million"):
        open_rgb(root / "a/huge.png")


def test_a_canvas_that_costs_more_than_its_file_is_refused(tiny_folder: Folder) -> None:
    """An animation of 282 bytes took 2.6 GB and more than five seconds before it was refused or shown."""
    root = tiny_folder(("a", "b"), per_class=1)
    frames = [Image.new("RGBA", (12, 12), (shade, 0, 0, 128)) for shade in (0, 80, 160)]
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    content = bytearray(stream.getvalue())
    size = content.index(b"VP8X") + 12
    for name, width, height in (("within.webp", 500, 400), ("beyond.webp", 10_000, 3_001), ("wide.webp", 5_292_801, 12)):
        content[size : size + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        (root / "a" / name).write_bytes(content)
    assert refused(root) == {
        "a/beyond.webp": "damaged: 10000 x 3001 pixels are more than 30 million",
        "a/wide.webp": "damaged: 5292801 x 12 pixels are more than 30 million",
    }
    assert open_rgb(root / "a/within.webp").size == (500, 400)


PEAK = """
import re, sys
from pathlib import Path
from curriculum.images import open_rgb
def peak(): return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
open_rgb(Path(sys.argv[1]))
print(peak() - before)
"""


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16", "I", "turned"])
def test_of_a_large_picture_two_copies_are_held_at_most(mode: str, tmp_path: Path) -> None:
    side, turned = 4_000, Image.Exif()
    turned[ORIENTATION] = 6
    picture = Image.new("RGB" if mode == "turned" else mode, (side, side))
    path = tmp_path / ("x.tif" if mode == "I" else "x.png")  # a PNG has no 32 bits
    if mode == "turned":
        picture.save(path, exif=turned, compress_level=1)
    else:
        picture.save(path, compress_level=1)
    told = subprocess.run([sys.executable, "-c", PEAK, str(path)], check=True, capture_output=True, text=True)
    assert int(told.stdout) < 2.5 * 4 * side * side


TOGETHER = (
    PEAK.split("before =")[0]
    + """
import os
from curriculum import images
images._room = images._Room(10_000_000)
os.cpu_count = lambda: 8
before, root = peak(), Path(sys.argv[1])
found = images.index_folder(root).examples
images.load_images(root, [one.example for one in found], [one.sha256 for one in found], 32, root.parent / "cache")
print(len(found), peak() - before)
"""
)


def test_however_many_processors_so_many_pixels_are_decoded_at_a_time(tmp_path: Path) -> None:
    side = 3_000
    for number in range(16):
        file = tmp_path / "set" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (number, 0, 0)).save(file, compress_level=1)
    told = subprocess.run([sys.executable, "-c", TOGETHER, str(tmp_path / "set")], check=True, capture_output=True, text=True)
    count, most = map(int, told.stdout.split())
    assert count == 16
    assert most < 3.5 * 4 * side * side


def test_who_waits_for_room_is_next_and_errors_give_theirs_back() -> None:
    room, order = images._Room(10), list[int]()

    def take(pixels: int) -> None:
        with room.take(pixels):
            order.append(pixels)

    with room.take(6):
        threads = [threading.Thread(target=take, args=[pixels]) for pixels in (8, 1)]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        assert order == [], "the small one went by"
    for thread in threads:
        thread.join()
    assert sorted(order) == [1, 8]
    with pytest.raises(ValueError, match="broken"), room.take(10):
        raise ValueError("broken")
    assert room.free == 10


def test_pixel_formats_without_a_sure_conversion_are_refused(tiny_folder: Folder) -> None:
    root = tiny_folder(("a", "b"), per_class=1)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(root / "a/float.tif")
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(root / "a/deep.tif")
    reasons = refused(root)
    assert "pixel format F has no sure conversion" in reasons["a/float.tif"]
    assert "32-bit greyscale outside 0 to 65535" in reasons["a/deep.tif"]


def encoded(image_format: str) -> bytes:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[ORIENTATION] = 6
    stream = io.BytesIO()
    image.save(stream, image_format, exif=exif)
    return stream.getvalue()


GOOD_FILES = [encoded(image_format) for image_format in ("JPEG", "PNG", "TIFF", "WEBP")]


@given(st.sampled_from(GOOD_FILES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), st.integers(0, 500))
def test_no_damage_escapes_as_another_error(good: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(good[: max(1, len(good) - cut)])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        for class_name in ("a", "b"):
            (root / class_name).mkdir()
            (root / class_name / "good.png").write_bytes(GOOD_FILES[1])
        (root / "a/x.png").write_bytes(damaged)
        index = index_folder(root)
        assert len(index.examples) + len(index.rejected) == 3
        if index.rejected:
            with pytest.raises(DatasetError):
                open_rgb(root / "a/x.png")
        else:
            assert open_rgb(root / "a/x.png").mode == "RGB"


# -- decoding ------------------------------------------------------------------------------------


def test_grey_palette_and_cmyk_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (1, 1), 77).save(tmp_path / "grey.png")
    assert pixels(tmp_path / "grey.png") == [[[77, 77, 77]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png")
    assert pixels(tmp_path / "palette.png") == [[[255, 0, 0], [0, 255, 0]]]
    Image.new("CMYK", (1, 1), (0, 255, 255, 0)).save(tmp_path / "cmyk.tif")
    assert pixels(tmp_path / "cmyk.tif") == [[[255, 0, 0]]]
    Image.new("1", (1, 1), 1).save(tmp_path / "bit.png")
    assert pixels(tmp_path / "bit.png") == [[[255, 255, 255]]]


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 128]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    assert pixels(tmp_path / "rgba.png") == [[[255, 0, 0], [255, 255, 255], [255, 127, 127]]]
    Image.fromarray(np.array([[[10, 255], [10, 0]]], dtype=np.uint8)).save(tmp_path / "la.png")
    assert pixels(tmp_path / "la.png") == [[[10, 10, 10], [255, 255, 255]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert pixels(tmp_path / "palette.png") == [[[255, 255, 255], [0, 255, 0]]]


def test_16_bits_keep_their_upper_8(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 256, 0x8001, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert [pixel[0] for pixel in pixels(tmp_path / "deep.png")[0]] == [0, 0, 1, 128, 255]
    Image.fromarray(np.array([[0, 0x1234, 65535]], dtype=np.int32)).save(tmp_path / "deep.tif")
    assert [pixel[0] for pixel in pixels(tmp_path / "deep.tif")[0]] == [0, 0x12, 255]


def test_exif_rotation_is_applied(tiny_folder: Folder) -> None:
    root = tiny_folder(("a", "b"), per_class=1)
    image = Image.new("RGB", (2, 1), "red")
    image.putpixel((1, 0), (0, 0, 255))
    exif = image.getexif()
    exif[ORIENTATION] = 6  # to be turned a quarter to the right: what is left in the file is on top
    image.save(root / "a/turned.png", exif=exif)
    assert pixels(root / "a/turned.png") == [[[255, 0, 0]], [[0, 0, 255]]]
    turned = next(e for e in index_folder(root).examples if e.example == "a/turned.png")
    assert (turned.width, turned.height) == (1, 2)


def test_decode_is_exact_where_nothing_is_scaled(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "x.png")
    np.testing.assert_array_equal(decode(tmp_path / "x.png", 32), array)


def test_decode_keeps_the_centre_square(tmp_path: Path) -> None:
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    wide[:, 10:30] = (0, 200, 0)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        np.testing.assert_array_equal(decode(tmp_path / name, 20), np.full((20, 20, 3), (0, 200, 0), dtype=np.uint8))


def test_decode_scales_up_and_down(tmp_path: Path) -> None:
    Image.new("RGB", (50, 30), (9, 99, 199)).save(tmp_path / "plain.png")
    for size in (7, 64):
        np.testing.assert_array_equal(decode(tmp_path / "plain.png", size), np.full((size, size, 3), (9, 99, 199), dtype=np.uint8))


def test_decoding_in_threads_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("1", (1_500, 1_500)).save(tmp_path / f"{i}.png")
    open_rgb(tmp_path / "0.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda n: open_rgb(tmp_path / f"{n % 4}.png").size, range(80)))
    assert sizes == [(1_500, 1_500)] * 80
    assert list(warnings.filters) == before


# -- the decoded cache ---------------------------------------------------------------------------


def load(root: Path, examples: tuple[Example, ...], cache: Path, seen: list[tuple[int, int]]) -> np.ndarray:
    names, hashes = [e.example for e in examples], [e.sha256 for e in examples]
    return load_images(root, names, hashes, 8, cache, lambda done, of: seen.append((done, of)))[:]


def test_images_are_decoded_once(tiny_folder: Folder, tmp_path: Path) -> None:
    root, seen = tiny_folder(), list[tuple[int, int]]()
    examples = index_folder(root).examples
    first = load(root, examples, tmp_path / "cache", seen)
    assert seen == [(12, 12)]
    np.testing.assert_array_equal(first, np.stack([decode(root / e.example, 8) for e in examples]))
    for example in examples:
        (root / example.example).unlink()
    np.testing.assert_array_equal(load(root, examples, tmp_path / "cache", seen), first)
    assert seen == [(12, 12)]


def test_a_changed_file_costs_only_its_own_row(tiny_folder: Folder, tmp_path: Path) -> None:
    root, seen = tiny_folder(), list[tuple[int, int]]()
    before = load(root, index_folder(root).examples, tmp_path / "cache", seen)
    Image.new("RGB", (20, 16), "white").save(root / "b/b2.jpg")
    after = load(root, index_folder(root).examples, tmp_path / "cache", seen)
    assert seen == [(12, 12), (1, 1)]
    changed = [i for i in range(12) if not np.array_equal(before[i], after[i])]
    assert changed == [6]
    assert after[6].min() == 255


def test_a_file_that_changed_or_went_since_indexing_is_an_error(tiny_folder: Folder, tmp_path: Path) -> None:
    root = tiny_folder()
    examples = index_folder(root).examples
    Image.new("RGB", (20, 16), "white").save(root / "b/b2.jpg")
    with pytest.raises(DatasetError, match=r"b2\.jpg has changed since it was indexed.*data check"):
        load(root, examples, tmp_path / "cache", [])
    (root / "b/b2.jpg").unlink()
    with pytest.raises(DatasetError, match=r"b2\.jpg can't be read"):
        load(root, examples, tmp_path / "cache", [])
