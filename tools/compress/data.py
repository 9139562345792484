"""The data of the compression benchmark: two sets of 28×28 gray images, without downloads.

    python tools/compress/data.py OUT      writes OUT/SET-LAYOUT-SPLIT.npz, keys x and labels

SET is `digits` (scikit-learn's handwritten digits, 10 classes, enlarged from 8×8) or `glyphs`
(letters and shapes drawn by Pillow, 16 classes, hard); LAYOUT is `nhwc` (Keras) or `nchw`
(PyTorch); SPLIT is `train`, `calibration` or `test`. x is float32 in [0, 1], shape
(count, 28, 28, 1) or (count, 1, 28, 28); labels are int64.

What limits the accuracy on `glyphs`: each image is a letter or shape of its own size, angle, place
and stroke, on a background that brightens to one side, of a contrast between a fifth and three
fifths of the range, behind noise of a tenth of it; over some lies a bar of another gray, a piece of
another letter beside them, or both. Classes are alike (B 8 3 S 5, E F, P R, K X and a cross), so
for some samples what tells them apart is covered or drowned, and no network can know. The rest is
that 8,000 training samples are few. So a compressed network has something to lose, which it has not
on digits.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 28
SETS = ("digits", "glyphs")
SPLITS = ("train", "calibration", "test")
LAYOUTS = ("nhwc", "nchw")
CLASSES = {"digits": 10, "glyphs": 16}
SEED = 0

DIGITS_OF_EACH_CLASS = {"train": 100, "calibration": 20}  # what is left tests: 54 to 63 of a class
GLYPHS = {"train": 8000, "calibration": 512, "test": 4000}

LETTERS = "B83S5EFPRKXA"
SHAPES = ("triangle", "cross", "star", "ring")
CANVAS = 112  # what a glyph is drawn on, before it is turned and made small
STROKES = (0, 2, 4)  # added to each side of a letter's lines
TURN = 15.0  # degrees
SIZE = (0.75, 1.0)  # of the image's side
SHIFT = 2.0  # pixels
CONTRAST = (0.2, 0.6)
COVERED = 0.6  # of the images have a bar, and as many a piece of another letter
NOISE = 0.1  # standard deviation
BAR = (1, 4)  # pixels wide

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


def load(name: str, split: str) -> tuple[Images, Labels]:
    """Images (count, 28, 28, 1) in [0, 1], and labels. The same at every call."""
    if name == "digits":
        return _digits(split)
    return glyphs(GLYPHS[split], SPLITS.index(split))


def _digits(split: str) -> tuple[Images, Labels]:
    from PIL import Image
    from sklearn.datasets import load_digits

    small, target = load_digits(return_X_y=True)
    mixed = np.random.default_rng(SEED).permutation(len(target))
    chosen = []
    for label in range(CLASSES["digits"]):
        mine, start = mixed[target[mixed] == label], 0
        for each in SPLITS:
            count = DIGITS_OF_EACH_CLASS.get(each, len(mine) - start)
            if each == split:
                chosen.append(mine[start : start + count])
            start += count
    indices = np.sort(np.concatenate(chosen))  # the order of the file, in which classes take turns
    x = np.stack(
        [
            np.asarray(
                Image.fromarray((image.reshape(8, 8) / 16).astype(np.float32)).resize(
                    (SIDE, SIDE), Image.Resampling.BILINEAR
                )
            )
            for image in small[indices]
        ]
    )
    return x[..., None], target[indices].astype(np.int64)


def glyphs(count: int, stream: int) -> tuple[Images, Labels]:
    """`count` samples, classes in equal numbers, of the random `stream` of that number."""
    draw = np.random.default_rng([SEED, stream])
    masks = _masks()
    labels = draw.permutation(np.arange(count) % len(masks))
    x = np.empty((count, SIDE, SIDE, 1), np.float32)
    for index, label in enumerate(labels):
        x[index, :, :, 0] = _image(masks, int(label), draw)
    return np.round(x * 255) / np.float32(255), labels  # as a camera would give them


def _masks() -> list[list[Any]]:
    """For each class one or more drawings, white on black, centered, CANVAS high."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(CANVAS * 1.1)
    middle, reach = CANVAS / 2, CANVAS * 0.36
    made: list[list[Any]] = []
    for letter in LETTERS:
        made.append([])
        for stroke in STROKES:
            image = Image.new("L", (CANVAS, CANVAS))
            ImageDraw.Draw(image).text(
                (middle, middle), letter, fill=255, font=font, anchor="mm", stroke_width=stroke
            )
            made[-1].append(image)
    for shape in SHAPES:
        made.append([])
        for stroke in STROKES:
            image = Image.new("L", (CANVAS, CANVAS))
            pen, width = ImageDraw.Draw(image), 9 + 2 * stroke
            if shape == "ring":
                box = [middle - reach, middle - reach, middle + reach, middle + reach]
                pen.ellipse(box, outline=255, width=width)
            elif shape == "cross":
                pen.line([(middle, middle - reach), (middle, middle + reach)], 255, width)
                pen.line([(middle - reach, middle), (middle + reach, middle)], 255, width)
            else:
                corners = 3 if shape == "triangle" else 5
                angles = 2 * np.pi * np.arange(corners) / corners - np.pi / 2
                at = [(middle + reach * np.cos(a), middle + reach * np.sin(a)) for a in angles]
                step = 1 if shape == "triangle" else 2  # a star of five lines
                for corner in range(corners):
                    ends = [at[corner], at[(corner + step) % corners]]
                    pen.line(ends, 255, width)
            made[-1].append(image)
    return made


def _image(masks: list[list[Any]], label: int, draw: np.random.Generator) -> Images:
    """One sample (28, 28) in [0, 1]."""
    contrast, dark = draw.uniform(*CONTRAST), draw.uniform(0.1, 0.4)
    lean = draw.uniform(-0.25, 0.25, 2)
    across = (np.arange(SIDE) - SIDE / 2) / SIDE
    image = dark + lean[0] * across[:, None] + lean[1] * across[None, :]

    shape = _placed(masks[label], draw, draw.uniform(-SHIFT, SHIFT, 2))
    image = image + contrast * shape
    # A piece of another letter looks in from one of the sides.
    if draw.random() < COVERED:
        angle = draw.uniform(0, 2 * np.pi)
        aside = SIDE * 0.65 * np.array([np.cos(angle), np.sin(angle)])
        other = _placed(masks[int(draw.integers(len(masks)))], draw, aside)
        image = image + draw.uniform(*CONTRAST) * other * (1 - shape)
    if draw.random() < COVERED:
        angle, width = draw.uniform(0, np.pi), draw.uniform(*BAR)
        away = draw.uniform(-SIDE / 4, SIDE / 4)
        rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        bar = np.abs(rows * np.cos(angle) + columns * np.sin(angle) - away) < width / 2
        image = np.where(bar, dark + draw.uniform(-0.1, 0.5), image)

    image = image + NOISE * draw.standard_normal(image.shape)
    return np.clip(image, 0, 1).astype(np.float32)


def _placed(drawings: list[Any], draw: np.random.Generator, shift: NDArray[np.float64]) -> Images:
    """One of the `drawings`, turned, made small and moved by `shift` pixels; (28, 28) in [0, 1]."""
    from PIL import Image

    turn = np.deg2rad(draw.uniform(-TURN, TURN))
    scale = CANVAS / (SIDE * draw.uniform(*SIZE, 2))  # pixels of the drawing for one of the image
    back = np.array(
        [
            [scale[0] * np.cos(turn), scale[0] * np.sin(turn)],
            [-scale[1] * np.sin(turn), scale[1] * np.cos(turn)],
        ]
    )
    # Drawn at twice the size and averaged, since a transform takes single pixels.
    back, center = back / 2, SIDE + 2 * shift
    offset = CANVAS / 2 - back @ center
    drawing = drawings[int(draw.integers(len(drawings)))]
    values = (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1])
    double = drawing.transform(
        (2 * SIDE, 2 * SIDE), Image.Transform.AFFINE, values, Image.Resampling.BILINEAR
    )
    return np.asarray(double.reduce(2), np.float32) / 255


def path(folder: Path, name: str, layout: str, split: str) -> Path:
    return folder / f"{name}-{layout}-{split}.npz"


def write(folder: Path) -> None:
    """Every file that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        for split in SPLITS:
            paths = [path(folder, name, layout, split) for layout in LAYOUTS]
            if all(each.exists() for each in paths):
                continue
            x, labels = load(name, split)
            for each, values in zip(paths, (x, x.transpose(0, 3, 1, 2)), strict=True):
                made = each.with_suffix(".part.npz")
                np.savez_compressed(made, x=np.ascontiguousarray(values), labels=labels)
                made.replace(each)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/compress/data.py OUT")
    write(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
