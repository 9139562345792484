"""Inputs and what the reference makes of them, for the package's own tests.

The numbers come from SHA-256 and not from numpy's generators: they are the same for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.bundles.apps import Given, all_given, least_shape, preprocessing_of, words
from edgekit.bundles.ios.accessor import prepare_name, swift_type
from edgekit.bundles.ios.names import member_names
from edgekit.bundles.manifest import BundledArtifact
from edgekit.core.errors import DataError
from edgekit.core.preprocess_reference import apply
from edgekit.core.tensor import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

FILE = "vectors.json"
PICTURES = 2
MAX_BYTES = 8_000_000  # of one vector: a package is not filled with numbers that tests alone read


@dataclass(frozen=True)
class Vector:
    """What is given, and the tensor that must come of it."""

    given: Array
    wanted: Array


@dataclass(frozen=True)
class Check:
    """The vectors of one function of a class.

    Attributes:
        key: names them in the file.
        call: the Swift expression that makes a Tensor, or [Float], of ``vector.given``.
        real: whether it makes [Float].
    """

    key: str
    call: str
    vectors: tuple[Vector, ...]
    real: bool = False


def checks(artifact: BundledArtifact, name: str) -> Iterator[Check]:
    """Those of the class `name`: of each input, and of each output that is quantized."""
    from edgekit.bundles.accessor import to_input, to_real

    inputs = artifact.signature.inputs
    parameters = member_names(spec.name for spec in inputs)
    for index, (spec, parameter, take) in enumerate(
        zip(inputs, parameters, all_given(artifact), strict=True)
    ):
        made: list[Vector] = []
        for sample in _samples(spec, take, f"{name} {parameter}"):
            if len(made) == PICTURES:
                break
            try:
                prepared = apply(preprocessing_of(artifact, index), sample)
            except DataError:  # a picture that is smaller than what is cut out of it
                continue
            vector = Vector(sample, to_input(spec.to_json(), prepared))
            if made and vector.given.nbytes + vector.wanted.nbytes > MAX_BYTES:
                continue
            made.append(vector)
        call = f"{name}.{prepare_name(parameter)}({_argument(take)})"
        yield Check(f"{name}.{parameter}", call, tuple(made))
    for index, spec in enumerate(artifact.signature.outputs):
        if spec.quantization is not None:
            stored = _numbers(spec.dtype, least_shape(spec), f"{name} output {index}")
            vector = Vector(stored, to_real(spec.to_json(), stored))
            call = f"Postprocessing.toReal({name}.outputs[{index}], vector.given)"
            yield Check(f"{name}.outputs[{index}]", call, (vector,), real=True)


def files(all_checks: Iterable[Check]) -> dict[str, bytes]:
    """The vectors by the names of their files: numbers little-endian, and a list of all."""
    made: dict[str, bytes] = {}
    listed: dict[str, list[dict[str, Any]]] = {}
    for check in all_checks:
        for vector in check.vectors:
            entry = {}
            for what in ("given", "wanted"):
                array = getattr(vector, what)
                path = f"{len(made)}.bin"
                made[path] = array.astype(array.dtype.newbyteorder("<")).tobytes()
                entry[what] = {"kind": array.dtype.name, "shape": list(array.shape), "file": path}
            listed.setdefault(check.key, []).append(entry)
    document = {"schema": 1, "vectors": listed}
    made[FILE] = (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
    return made


def test_source(all_checks: Iterable[Check], names: Iterable[str], module: str) -> str:
    """``VectorTests.swift``: every vector, and that the files are those that were verified."""
    lines = [
        "import XCTest",
        "",
        f"@testable import {module}",
        "",
        "/// Inputs, and what edgekit made of them when it verified the models: the same bits.",
        "final class VectorTests: XCTestCase {",
    ]
    for number, check in enumerate(all_checks):
        if not check.vectors:
            continue
        made = f"try {check.call}"
        if check.real:
            made = f"try Tensor(.float32({made}), shape: vector.given.shape)"
        lines += [
            f"  func test{number:03}{_title(check.key)}() throws {{",
            f'    for vector in try vectors(of: "{check.key}") {{',
            f"      vector.expect({made})",
            "    }",
            "  }",
            "",
        ]
    lines += ["  func testFiles() throws {"]
    lines += [f"    try {name}.modelFile().check()" for name in names]
    return "\n".join([*lines, "  }", "}"]) + "\n"


def _title(key: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in words(key))


def _argument(take: Given) -> str:
    kind = swift_type(take)
    if kind == "Picture":
        return (
            "Picture(rgb: vector.given.uint8s(), width: vector.given.shape[1], "
            "height: vector.given.shape[0])"
        )
    return "vector.given" if kind == "Tensor" else f"vector.given.{take.dtype}s()"


def _samples(spec: TensorSpec, take: Given, seed: str) -> Iterator[Array]:
    if take.picture and None in take.shape[:2]:
        # Sides that are no multiples of anything, and some that no crop is too large for.
        large = max(size or 0 for size in spec.shape)
        for height, width in ((61, 97), (97, 61), (large + 3, large + 8), (2 * large, 2 * large)):
            yield _numbers(take.dtype, [height, width, 3], f"{seed} {height} {width}")
        return
    least = least_shape(spec)[1:]
    shape = [least[axis] if size is None else size for axis, size in enumerate(take.shape)]
    yield _numbers(take.dtype, shape, seed)


def _numbers(dtype: str, shape: Iterable[int | None], seed: str) -> Array:
    """An array filled from `seed`: whole numbers anywhere in 16 bits, real ones from -4 to 4."""
    import numpy as np

    sizes = [size or 0 for size in shape]
    count = int(np.prod(sizes, dtype=np.int64))
    blocks = -(-2 * count // 32)
    data = b"".join(
        hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(blocks)
    )
    values = np.frombuffer(data, "<i2")[:count].reshape(sizes)
    if dtype == "bool":
        made: Array = values % 2 == 0
    elif dtype == "float32":
        made = values.astype(np.float32) / np.float32(2**13)
    else:
        made = values.astype(dtype)
    return made
