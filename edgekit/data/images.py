"""Images decoded to RGB, uint8, shape (height, width, 3). Runs in a worker."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import DataError
from edgekit.core.preprocessing import Preprocessing
from edgekit.data.listing import Listing
from edgekit.data.writer import Writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What the suffixes of `listing` stand for; Pillow's other decoders are never reached.
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MB decoded; a larger one is a bomb or a map
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

# Pillow's decoders raise all of these for files that are cut off or made up.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError,
          struct.error)  # fmt: skip


def read(
    out: Path, folder: str, listing: Any, origin: str, preprocessing: Any, choice: Any
) -> dict[str, Any]:
    """The listed images as a data set; labels are the classes' indices.

    Raises:
        DataError: a file that is no whole 8-bit image, a huge one, or differing sizes.
    """
    import numpy as np

    found = Listing.from_json(listing)
    writer = Writer(out, origin, [""], Preprocessing.from_json(preprocessing))
    for index, name in enumerate(found.files):
        labels = None if found.labels is None else np.array([found.labels[index]])
        writer.add([decode(Path(folder) / name)[None]], labels)
    return writer.finish(choice=found.choice, classes=found.classes, notes=found.notes)


def decode(path: Path) -> NDArray[np.uint8]:
    """One image as it is meant to be seen: turned as EXIF says, transparency dropped.

    Raises:
        DataError: not a whole image of at most `MAX_PIXELS` with 8 bits a channel; or no Pillow.
    """
    import numpy as np

    try:
        from PIL import Image, ImageOps
    except ImportError as exc:
        raise DataError(
            "images need Pillow, which is not installed", hint="pip install 'edgekit[images]'"
        ) from exc
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
        with image:
            if image.mode not in EIGHT_BIT_MODES:
                raise DataError(
                    f"{str(path)!r} has pixels of kind {image.mode}, not 8 bits a channel",
                    hint="convert it to 8 bits, or give the data as .npy",
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        raise DataError(f"{str(path)!r} has more than {MAX_PIXELS:,} pixels") from exc
    except BROKEN as exc:
        detail = str(exc).splitlines()[0][:200] if str(exc) else type(exc).__name__
        raise DataError(f"{str(path)!r} is not a whole image: {detail}") from exc
