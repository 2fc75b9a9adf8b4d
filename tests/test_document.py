"""Pictures in a report: as the pages show them, whatever the file's format; words alone where there is none."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curriculum.document import picture

GREY = np.full((40, 60), 128, np.uint8)


def _grey_16(path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path)


def _transparent(path: Path) -> None:
    """White beneath a mask that shows nothing of it: on white it is white."""
    Image.new("RGBA", (60, 40), (0, 0, 0, 0)).save(path)


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright, the camera lay on its side
    Image.fromarray(GREY).save(path.with_suffix(".jpg"), exif=exif)
    path.with_suffix(".jpg").rename(path)


def shown(path: Path) -> Image.Image:
    found = picture(path, "an image", ("its words",))
    return Image.open(io.BytesIO(base64.b64decode(found.source.split(",")[1])))


@pytest.mark.parametrize(("write", "size", "value"), [(_grey_16, (60, 40), 128), (_transparent, (60, 40), 255), (_turned, (40, 60), 128)])
def test_a_picture_looks_as_it_does_on_the_pages(tmp_path: Path, write: Callable[[Path], None], size: tuple[int, int], value: int) -> None:
    write(tmp_path / "one.png")
    image = shown(tmp_path / "one.png")
    assert image.size == size
    assert np.abs(np.asarray(image, dtype=int) - value).max() <= 3


def test_what_cannot_be_read_leaves_its_words(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"torn")
    for path in (None, tmp_path / "none.png", tmp_path / "torn.png"):
        assert (picture(path, "an image", ["its words"]).source, picture(path, "an image", ["its words"]).lines) == ("", ("its words",))
