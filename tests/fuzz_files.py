"""What `tests.fuzz` feeds the readers of files from elsewhere: archives, checksums, downloads, images, weights and checkpoints."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import struct
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import datasets

from curriculum import download, images, model, sources, torchvision_data, worker
from curriculum.errors import CurriculumError, DatasetError
from curriculum.rundir import RunDir
from curriculum.scenes import CLASSES
from tests.fuzz_chance import Chance
from tests.fuzz_labels import Input, show, shown

__all__ = ["shown"]


# -- archives ------------------------------------------------------------------------------------


def _zip(chance: Chance, content: dict[str, bytes]) -> bytes:
    """RSSCN7's archive with members renamed, doubled, left out, linked, packed otherwise."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, image in content.items():
            if chance.yes(20):
                continue
            for _ in range(2 if chance.yes(40) else 1):
                odd = chance.pick(
                    (
                        f"../../outside/{name}",
                        f"/tmp/{name}",
                        f"x/../{name}",
                        f"C:/{name}",
                        f"RSSCN7-master/{name}\0.jpg",
                        f"{name}/",
                        "é",
                        chance.text(),
                    )
                )
                member = zipfile.ZipInfo(odd.encode("utf-8", "replace").decode() if chance.yes(20) else f"RSSCN7-master/{name}")
                member.external_attr = chance.pick((0, 0o120777 << 16)) if chance.yes(20) else 0
                member.compress_type = chance.pick((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
                with suppress(ValueError, UnicodeError, struct.error):
                    packed.writestr(member, image)
    return buffer.getvalue()


def archives(folder: Path) -> Input:
    """RSSCN7's zip and checksums, and DTD as torchvision leaves it: what is unpacked is whole and as published, nothing lies elsewhere."""
    content = {f"{name}/{name[0]}{number}.jpg": os.urandom(20 + number) for name in CLASSES for number in range(2)}
    lines = "".join(f"{hashlib.sha256(image).hexdigest()}  {name}\n" for name, image in content.items())
    expected, checksums, archive = folder / "right.sha256", folder / "odd.sha256", folder / "given.zip"
    expected.write_text(lines)
    (folder / "outside").mkdir()

    def one(data: bytes) -> None:
        chance = Chance(data)
        which = chance.number(0, 3)
        if which == 0:
            checksums.write_bytes(chance.damaged(lines.encode()) if chance.yes() else chance.raw())
            assert all(name.split("/")[0] in CLASSES and len(digest) == 64 for name, digest in sources.read_checksums(checksums).items())
        elif which == 1:
            textures(chance)
        else:
            packed = _zip(chance, content)
            packed = chance.damaged(packed) if chance.yes() else packed
            show(packed)
            archive.write_bytes(packed)
            place = folder / "data" / "rsscn7"
            try:
                taken = sources.take_rsscn7(folder / "data", archive, expected)
                assert taken.matching == len(content)
                assert {f"{path.parent.name}/{path.name}": path.read_bytes() for path in place.glob("*/*")} == content
            except CurriculumError:
                assert not list((folder / "data").glob("*")), "a refused archive left something"
                raise
            finally:
                shutil.rmtree(folder / "data", ignore_errors=True)

    def textures(chance: Chance) -> None:
        root = folder / "root" / "dtd" / "dtd"
        shutil.rmtree(folder / "root", ignore_errors=True)
        (root / "labels").mkdir(parents=True)
        for name in ("banded", "dotted"):
            (root / "images" / name).mkdir(parents=True)
            (root / "images" / name / f"{name}_1.jpg").write_bytes(b"x")
        for split in ("train1", "val1", "test1"):
            text = "banded/banded_1.jpg\n" if split == "train1" else "dotted/dotted_1.jpg\n" if split == "val1" else ""
            (root / "labels" / f"{split}.txt").write_bytes(chance.damaged(text.encode() + b"../../../../outside/x.jpg\n" * chance.yes(6)))
        joint = chance.damaged(b"banded/banded_1.jpg banded dotted\ndotted/dotted_1.jpg dotted\n")
        (root / "labels" / "labels_joint_anno.txt").write_bytes(joint)
        show({path.name: path.read_bytes() for path in root.glob("labels/*")})
        kind = torchvision_data.Kind(datasets.DTD, "http://127.0.0.1:9/x.tar.gz", "0" * 32, 1, "dtd", "", torchvision_data.read_textures)
        made = folder / "made" / "dtd"
        try:
            torchvision_data.make(kind, made, folder / "root")
            assert len({path.parent.name for path in made.glob("*/*.jpg")}) >= 1
        except CurriculumError:
            assert not list((folder / "made").glob("*"))
            raise
        finally:
            shutil.rmtree(folder / "made", ignore_errors=True)

    return one


def downloads(folder: Path) -> Input:
    """Answers of a server, headers and body in any shape, and what an interrupted download left: the file whole, or an error of ours."""
    body = bytes(range(256)) * 8
    answers: list[bytes] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(answers[0])

    ThreadingTCPServer.daemon_threads = True
    server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/x.zip"
    part = folder / "x.zip.part"

    def one(data: bytes) -> None:
        chance = Chance(data)
        number = chance.pick(("2048", "0", "-1", "2049", "10", "²", "٣", "9" * 5000, "9" * 30, "x", "", "1e3"))
        status = chance.pick((200, 200, 200, 206, 206, 204, 301, 304, 401, 404, 408, 416, 429, 500, 999, 100))
        span = chance.pick(
            (f"bytes 100-2047/{number}", "bytes 0-2047/2048", "bytes 100-2047/2048", "bytes */2048", f"bytes {number}-1/2048", "")
        )
        headers = {"Content-Length": number, "Content-Range": span, "ETag": chance.pick(('"x"', 'W/"x"', "", chance.text())),
                   "Last-Modified": chance.pick(("", "Mon, 01 Jan 2024 00:00:00 GMT")), "Transfer-Encoding": chance.pick(("", "", "chunked", "gzip")),
                   "Location": chance.pick((url, "file:///etc/passwd", "//", "http://[", chance.text()))}  # fmt: skip
        lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in headers.items() if value and chance.yes())]
        answer = (
            "\r\n".join(lines).encode("latin-1", "replace") + b"\r\nConnection: close\r\n\r\n" + (body[100:] if status == 206 else body)
        )
        answers[:] = [chance.damaged(answer, 3) if chance.yes(3) else answer]
        note = {"url": url, "mark": '"x"', "total": 2048}
        download.discard(part)
        if chance.yes():
            part.write_bytes(body[:100])
            (folder / "x.zip.part.json").write_bytes(chance.json(note))
        show((answers[0], (folder / "x.zip.part.json").read_bytes() if part.exists() else None))
        try:
            download.download(url, part, retries=0, backoff_seconds=0.0, timeout_seconds=5.0, limit_bytes=5000)
            assert part.stat().st_size <= 5000
        except CurriculumError:
            assert not part.exists() or (folder / "x.zip.part.json").exists(), "a part without its note was left"

    return one


# -- images --------------------------------------------------------------------------------------


def _valid() -> list[bytes]:
    """Small images in every form that is taken, and some that aren't."""
    random = np.random.default_rng(0)
    colour = Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8769] = 6, "words", {0x9000: b"0230", 0x829A: (1, 0)}
    profile = b"\0" * 12 + b"prtrCMYKLab " + b"\0" * 104
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "JPEG", {"exif": exif}), (colour, "JPEG", {"progressive": True, "icc_profile": profile}),
        (colour.convert("CMYK"), "JPEG", {"icc_profile": profile}),
        (colour.convert("L"), "JPEG", {}), (colour.convert("RGBA"), "PNG", {"exif": exif}), (colour.convert("P"), "PNG", {"transparency": 3}),
        (colour.convert("1"), "PNG", {}), (colour.convert("LA"), "PNG", {}), (Image.fromarray(random.integers(0, 65536, (6, 5), dtype=np.uint16)), "PNG", {}),
        (colour, "PNG", {"save_all": True, "append_images": [colour.rotate(90)] * 2}), (colour, "GIF", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour, "WEBP", {"save_all": True, "append_images": [colour.rotate(90)], "exif": exif}), (colour.convert("RGBA"), "WEBP", {"lossless": True}),
        (Image.new("RGB", (1, 1)), "PNG", {}), (colour, "BMP", {}), (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour, "TIFF", {"save_all": True, "append_images": [colour]}), (colour.convert("CMYK"), "TIFF", {}), (colour.convert("LAB"), "TIFF", {}),
        (colour, "TIFF", {"compression": "jpeg"}), (colour.convert("1"), "TIFF", {"compression": "group4"}),
        (Image.fromarray(random.integers(0, 65536, (6, 5), dtype=np.uint16)), "TIFF", {"compression": "tiff_deflate"}),
        (colour.convert("F"), "TIFF", {}), (colour.convert("I"), "TIFF", {}), (colour, "MPO", {"save_all": True, "append_images": [colour]}),
    ]  # fmt: skip
    found = [
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"<!DOCTYPE html><html>not found</html>",
        b"GIF89a",
        b"%PDF-1.4",
        b"",
    ]
    for image, form, options in kinds:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        found.append(buffer.getvalue())
    return found


def pictures(folder: Path) -> Input:
    """Image files with damaged bytes and headers that promise much: indexed with the size that they then have, or refused."""
    valid = _valid()
    root = folder / "set"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "good.png").write_bytes(next(each for each in valid if each.startswith(b"\x89PNG")))
    path = root / "a" / "x.jpg"

    def one(data: bytes) -> None:
        chance = Chance(data)
        content = bytearray(chance.damaged(chance.pick(valid), 8))
        if chance.yes(5):  # sizes as JPEG, PNG and TIFF write them
            at, size = chance.number(0, min(len(content), 200)), chance.pick((50_000, 9_999, 65_535, 2**31 - 1, 0))
            form = chance.pick((">I", "<I", ">H", "<H"))
            packed = struct.pack(form, size if form.endswith("I") else min(size, 65_535))
            content[at : at + len(packed)] = packed
        show(bytes(content))
        path.write_bytes(content)
        outcome = images._verify(root, path, {})
        if isinstance(outcome, images.Example):
            image = images.open_rgb(path)
            assert (image.mode, image.size) == ("RGB", (outcome.width, outcome.height))
            assert images.decode(path, 32).shape == (32, 32, 3)
        else:
            assert outcome.reason
            with suppress(DatasetError):
                images.open_rgb(path)
                raise AssertionError("what was refused can be opened")

    return one


# -- weights and checkpoints ---------------------------------------------------------------------


class Evil:
    """What no reader of weights may run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch outside",)


ODD_TENSORS: list[Callable[[], Any]] = [
    lambda: torch.zeros(3), lambda: torch.eye(3).to_sparse(), lambda: torch.eye(4).to_sparse_csr(), lambda: torch.zeros(1).expand(10**12), lambda: torch.zeros(0, 5),
    lambda: torch.tensor(1.0), lambda: torch.zeros(2, dtype=torch.complex64), lambda: torch.zeros(2, dtype=torch.bfloat16), lambda: torch.zeros(2, dtype=torch.bool),
    lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), lambda: torch.nn.Parameter(torch.zeros(2)), lambda: torch.zeros(2, device="meta"),
    lambda: torch.full((64,), float("nan")), lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), lambda: torch.zeros(2, dtype=torch.float8_e5m2),
    lambda: torch.zeros(2).conj(), lambda: torch.zeros(2, dtype=torch.complex64).conj(), lambda: "x", lambda: None, lambda: 3, lambda: [1],
    lambda: {"a": torch.zeros(1)},
    lambda: Evil(),
]  # fmt: skip


def weights(folder: Path) -> Input:
    """State dicts and checkpoints: tensors of every kind, damaged bytes, pickles with code, which must not run."""
    torch.set_num_threads(1)
    name, size = "lenet5", 32
    net = model.build(3, model.load_weights("none", folder, name, size), 0, size)
    state = {key: value.detach().clone() for key, value in net.state_dict().items()}
    whole, checkpoint = io.BytesIO(), io.BytesIO()
    torch.save({key: state[key] for key in list(state)[-2:]}, whole)
    torch.save({"training": {"epoch": 1}, "said": torch.zeros(2, 3), "seconds": 1.0}, checkpoint)
    path, run = folder / "model.pt", RunDir(folder / "run")
    run.path.mkdir()

    def one(data: bytes) -> None:
        chance = Chance(data)
        how = chance.number(0, 4)
        if how == 0:
            content = chance.damaged(whole.getvalue())
        elif how == 1:
            content = pickle.dumps(chance.pick((Evil(), {"x": Evil()}, 3)), protocol=chance.number(0, 5))
        else:
            odd = {key: chance.pick(ODD_TENSORS)() if chance.yes(6) else value for key, value in state.items() if not chance.yes(12)}
            for _ in range(chance.number(0, 2)):
                odd[chance.pick((chance.text(), "fc3.weight", "extra", 3))] = chance.pick(ODD_TENSORS)()  # type: ignore[index]
            buffer = io.BytesIO()
            with suppress(Exception):  # what torch can't save
                torch.save(odd, buffer, _use_new_zipfile_serialization=chance.number(0, 3) != 3)
            content = chance.damaged(buffer.getvalue(), 2) if chance.yes(3) else buffer.getvalue()
            show({key: f"{type(value)} {getattr(value, 'dtype', '')} {getattr(value, 'layout', '')}" for key, value in odd.items()})
        path.write_bytes(content)
        with suppress(CurriculumError):
            found = model.load_weights(str(path), folder, name, size)
            model.build(3, found, 0, size)
            model.build_backbone(found, 0, size)
            model.restore(3, found, size)
        (run / "checkpoint.pt").write_bytes(chance.damaged(checkpoint.getvalue()) if chance.yes() else content)
        saved = worker._checkpoint(run)
        assert saved is None or {"training", "said", "seconds"} <= set(saved)
        for left in run.path.iterdir():
            left.unlink()

    return one
