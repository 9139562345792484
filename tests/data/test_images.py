"""Folders of images: listing, decoding, labels, and files that are not what they seem."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import DataError
from tests.data.conftest import Read

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(path: Path, color: tuple[int, ...] = RED, size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def test_a_flat_folder_has_no_labels(tmp_path: Path, read: Read) -> None:
    for name, color in (("b.png", BLUE), ("a.bmp", RED), ("c.PPM", GREEN)):
        picture(tmp_path / name, color)
    data = read(tmp_path)
    assert data.labels() is None
    assert data.arrays()[0].shape == (3, 4, 6, 3)
    assert data.arrays()[0][:, 0, 0].tolist() == [list(RED), list(BLUE), list(GREEN)]


def test_a_folder_a_class_gives_labels_in_the_names_order(tmp_path: Path, read: Read) -> None:
    picture(tmp_path / "dog" / "1.png", BLUE)
    picture(tmp_path / "cat" / "2.png", RED)
    picture(tmp_path / "cat" / "1.png", GREEN)
    data = read(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.labels().tolist() == [0, 0, 1]
    assert data.arrays()[0][:, 0, 0].tolist() == [list(GREEN), list(RED), list(BLUE)]
    assert data.notes == (
        "classes are numbered in alphabetical order of their folders: 0=cat, 1=dog; "
        "if the model has another order give --labels",
    )


def test_folders_are_matched_to_labels_by_name(tmp_path: Path, read: Read) -> None:
    for name, color in (("cat", RED), ("dog", BLUE), ("ant", GREEN)):
        picture(tmp_path / name / "1.png", color)
    data = read(tmp_path, labels=("dog", "emu", "ant", "cat"))
    assert data.labels().tolist() == [2, 3, 0]
    assert data.arrays()[0][:, 0, 0].tolist() == [list(GREEN), list(RED), list(BLUE)]
    assert data.classes == ("dog", "emu", "ant", "cat")
    assert data.notes == ()


def test_a_folder_called_like_no_label_is_refused(tmp_path: Path, read: Read) -> None:
    for name in ("cat", "Dog", "ant"):
        picture(tmp_path / name / "1.png")
    with pytest.raises(DataError, match="the folders Dog, ant are called like none of --labels: "):
        read(tmp_path, labels=("dog", "cat"))
    many = tuple(f"class{number}" for number in range(1000))
    with pytest.raises(DataError, match=r"class9, … \(1000 in all\)"):
        read(tmp_path, labels=many)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, read: Read) -> None:
    picture(tmp_path / "cat" / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(DataError, match="cat' holds 'caf\ufffd\\.png', a name that is not UTF-8"):
        read(tmp_path)


def test_a_flat_folder_needs_no_labels(tmp_path: Path, read: Read) -> None:
    picture(tmp_path / "a.png")
    data = read(tmp_path, labels=("dog", "cat"))
    assert (data.labels(), data.classes) == (None, ())


def test_images_of_all_sizes_with_preprocessing(tmp_path: Path, read: Read) -> None:
    picture(tmp_path / "a.png", size=(10, 20))
    picture(tmp_path / "b.png", size=(30, 5))
    data = read(tmp_path, "resize=4x4,normalize=0/255")
    assert data.arrays()[0].shape == (2, 4, 4, 3)
    with pytest.raises(DataError, match=r"sample 1 is 5×30×3.*\n.*resize=224x224"):
        read(tmp_path)


def test_only_chosen_images_are_opened(tmp_path: Path, read: Read) -> None:
    for index in range(4):
        picture(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"broken")
    data = read(tmp_path, samples=2)
    assert (data.count, data.choice) == (2, "2 of 4, evenly spread")


def test_a_photo_is_turned_as_exif_says(tmp_path: Path, read: Read) -> None:
    image = Image.new("RGB", (6, 4), BLUE)
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path).facts[0].shape == (6, 4, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_8_bit_image_becomes_rgb(tmp_path: Path, read: Read, mode: str) -> None:
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    assert read(tmp_path).facts[0].shape == (2, 3, 3)


def test_16_bit_images_are_refused_instead_of_clipped(tmp_path: Path, read: Read) -> None:
    Image.fromarray(np.full((2, 2), 40000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="not 8 bits a channel"):
        read(tmp_path)


def test_other_files_are_left_out_and_counted(tmp_path: Path, read: Read) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "readme.txt").write_text("about")
    (tmp_path / ".DS_Store").write_text("hidden")
    data = read(tmp_path)
    assert (data.count, data.notes) == (1, ("1 files that are no images were left out",))


def png(width: int, height: int) -> bytes:
    """A few bytes that claim to be an image of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_460, 20_000, 2**31 - 1])
def test_a_huge_image_is_refused_before_it_is_decoded(
    tmp_path: Path, read: Read, side: int
) -> None:
    (tmp_path / "bomb.png").write_bytes(png(side, side))
    with pytest.raises(DataError, match=r"pixels|not a whole image"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm"])
def test_an_image_cut_off_anywhere_is_a_data_error(tmp_path: Path, read: Read, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(file)
    content = file.read_bytes()
    for length in [0, 1, 10, 30, 60, len(content) // 2]:
        file.write_bytes(content[:length])
        with pytest.raises(DataError, match="is not a whole image"):
            read(tmp_path)


def test_a_file_of_another_format_is_not_opened_by_its_suffix(tmp_path: Path, read: Read) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.tiff")
    (tmp_path / "a.tiff").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match="is not a whole image"):
        read(tmp_path)


def test_links_lead_to_files_and_nothing_else(tmp_path: Path, read: Read) -> None:
    target = picture(tmp_path / "elsewhere" / "a.png")
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "a.png").symlink_to(target)
    assert read(folder).count == 1
    (folder / "b.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a regular file"):
        read(folder)
    (folder / "b.png").unlink()
    (folder / "c.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="not a regular file"):
        read(folder)
    (folder / "c.png").unlink()
    os.mkfifo(folder / "d.png")
    with pytest.raises(DataError, match="not a regular file"):
        read(folder)


def test_a_loop_of_links_ends(tmp_path: Path, read: Read) -> None:
    picture(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    assert read(tmp_path).classes == ("cat",)


def test_folders_that_cannot_be_a_data_set(tmp_path: Path, read: Read) -> None:
    with pytest.raises(DataError, match="holds no images"):
        read(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"class folder .*cat' holds no images"):
        read(tmp_path)
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="both images"):
        read(tmp_path)


def test_a_folder_that_may_not_be_read(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)  # root, who runs some tests, may read everything
    with pytest.raises(DataError, match=r"cannot read the folder .*: Permission denied"):
        read(tmp_path)
