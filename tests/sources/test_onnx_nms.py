"""Detectors without their non-maximum suppression: what goes into it comes out, apart, in INT8 too.

The graphs are put together as exporters do it; the reference is ONNX Runtime on the uncut graph.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgekit.core.errors import ModelError, PlanError, UsageError
from edgekit.core.model import Model, ModelOptions
from edgekit.sources.keras import KerasSource
from edgekit.sources.onnx import ONNXSource
from edgekit.sources.tflite import TFLiteSource
from edgekit.sources.torch import TorchSource
from tests.onnx_zoo import FLOAT, INT64, Graph

pytestmark = pytest.mark.slow
IMAGE = {"image": (FLOAT, [1, 3, 16, 16])}


def heads(g: Graph, classes: int = 2) -> tuple[str, str]:
    """boxes 1×4×64 from 0 to 640, scores 1×classes×64 from 0 to 1."""
    x = g.add("Relu", g.conv("image", 3, 8, strides=[2, 2]))
    boxes = g.add("Mul", g.add("Sigmoid", g.conv(x, 8, 4, 1)), g.constant(np.float32(640)))
    scores = g.add("Sigmoid", g.conv(x, 8, classes, 1))
    return (
        g.add("Reshape", boxes, g.constant(np.array([1, 4, 64]))),
        g.add("Reshape", scores, g.constant(np.array([1, classes, 64]))),
    )


def numbers(g: Graph, *values: int) -> str:
    return g.constant(np.array(values, dtype=np.int64))


def slice_of(g: Graph, x: str, first: int, end: int, axis: int, output: str = "") -> str:
    places = [numbers(g, each) for each in (first, end, axis)]
    return g.add("Slice", x, *places, output=output)


def suppressed(g: Graph, boxes: str, scores: str) -> str:
    """NonMaxSuppression; the indices of the boxes that it found."""
    limits = (numbers(g, 10), g.constant(np.float32(0.5)), g.constant(np.float32(0.25)))
    selected = g.add("NonMaxSuppression", boxes, scores, *limits)
    return g.add("Gather", selected, g.constant(np.array(2)), axis=1)


def detector() -> Any:
    """One join of boxes and scores, turned, split, suppressed and gathered from: as of YOLOv8."""
    g = Graph(4)
    found = g.add("Transpose", g.add("Concat", *heads(g), axis=1), perm=[0, 2, 1])
    g.nodes.append(
        helper.make_node("Split", [found, numbers(g, 4, 2)], ["own_boxes", "turned"], axis=2)
    )
    scores = g.add("Transpose", "turned", perm=[0, 2, 1], output="own_scores")
    g.add("Gather", found, suppressed(g, "own_boxes", scores), axis=1, output="found")
    return g.model(IMAGE, {"found": (FLOAT, [1, "n", 6])})


def two_levels() -> Any:
    """Boxes and scores joined in two levels, reshaped and joined again: as of YOLOv5."""
    g = Graph(5)
    levels = []
    for _ in range(2):
        parts = [g.add("Transpose", part, perm=[0, 2, 1]) for part in heads(g)]
        level = g.add("Reshape", g.add("Concat", *parts, axis=-1), numbers(g, 1, 2, 32, 6))
        levels.append(g.add("Reshape", level, numbers(g, 1, 64, 6)))
    both = g.add("Concat", *levels, axis=1)
    boxes = slice_of(g, both, 0, 4, -1, output="own_boxes")
    turned = slice_of(g, both, 4, 2**31, 2)
    scores = g.add("Transpose", turned, perm=[0, 2, 1], output="own_scores")
    g.add("Gather", both, suppressed(g, boxes, scores), axis=1, output="found")
    return g.model(IMAGE, {"found": (FLOAT, [1, "n", 6])})


def opened(model: Any, folder: Path, **options: Any) -> Model:
    onnx.save(model, folder / "model.onnx")
    return ONNXSource().open(str(folder / "model.onnx"), ModelOptions(**options))


def load(model: Any, folder: Path, **options: Any) -> Any:
    from edgekit.sources import onnx_worker

    return onnx_worker.load(opened(model, folder, **options))


def outputs(loaded: Any) -> list[str]:
    return [str(spec) for spec in loaded.signature.outputs]


def images(count: int) -> Any:
    return np.random.default_rng(7).normal(size=(count, 3, 16, 16)).astype(np.float32)


def uncut(model: Any, names: list[str], image: Any) -> list[Any]:
    """Inner values of the graph as it was given, by ONNX Runtime."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for name in names:
        copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(copy.SerializeToString())
    found: list[Any] = session.run(names, {"image": image[None]})
    return found


@pytest.mark.parametrize("make", [detector, two_levels])
def test_what_goes_in_comes_out_as_it_was(make: Any, tmp_path: Path) -> None:
    model = make()
    loaded = load(model, tmp_path, nms="outside")
    count = 64 if make is detector else 128
    assert outputs(loaded) == [f"boxes float32 1×{count}×4", f"scores float32 1×2×{count}"]
    image = images(1)
    answers = loaded.run({"image": image})
    for name, wanted in zip(
        ("boxes", "scores"), uncut(model, ["own_boxes", "own_scores"], image[0]), strict=True
    ):
        np.testing.assert_allclose(answers[name], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [detector, two_levels])
def test_boxes_and_scores_never_share_a_tensor(make: Any, tmp_path: Path) -> None:
    """Each has an own way back to its own convolutions: no join of both, no slice of one."""
    graph = load(make(), tmp_path, nms="outside").proto.graph
    kinds = [node.op_type for node in graph.node]
    assert not {"Slice", "Split", "NonMaxSuppression", "Gather"} & set(kinds)
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
             for v in (*graph.value_info, *graph.output)}  # fmt: skip
    assert not [name for name, size in sizes.items() if 6 in size]


def test_scores_keep_their_precision_in_int8(tmp_path: Path) -> None:
    """In one tensor with boxes up to 640, a step of INT8 is 2.5 and every score comes out as 0."""
    from edgekit.core.dataset import DataSet
    from edgekit.core.recipe import named_recipe
    from edgekit.core.registry import resolve
    from edgekit.export.onnx import ONNXExporter
    from edgekit.work.cache import RESULT_FILE

    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "0.npy", images(16))
    samples = DataSet(
        folder=str(data),
        inputs=("image",),
        count=16,
        digest="0" * 64,
        origin="test",
        choice="all",
    )
    model = opened(detector(), tmp_path, nms="outside")

    def made(step: Any) -> Path:
        folders = {name: str(made(need)) for name, need in step.needs.items()}
        out = tmp_path / step.key
        if not out.exists():
            out.mkdir()
            result = resolve(step.function)(out, **step.arguments, **folders)
            (out / RESULT_FILE).write_text(json.dumps(result))
        return out

    file = made(ONNXExporter().step(model, named_recipe("onnx-int8"), samples)) / "model.onnx"
    session = onnxruntime.InferenceSession(file)
    image = images(20)[19]
    wanted = uncut(detector(), ["own_boxes", "own_scores"], image)
    for answer, exact in zip(session.run(None, {"image": image[None]}), wanted, strict=True):
        noise = answer - exact
        assert 10 * np.log10((exact**2).sum() / (noise**2).sum()) > 25


# --------------------------------------------------------------------- what else comes out


def test_classes_that_are_read_by_index_come_out_too(tmp_path: Path) -> None:
    """The best class of each box goes beside the suppression, not through it."""
    g = Graph(6)
    boxes, scores = heads(g, 3)
    boxes = g.add("Transpose", boxes, perm=[0, 2, 1])
    best = g.add("ReduceMax", scores, numbers(g, 1), keepdims=1)
    which = g.add("ArgMax", scores, axis=1, keepdims=0, output="which")
    index = suppressed(g, boxes, best)
    g.add("Gather", boxes, index, axis=1, output="found")
    g.add("Gather", which, index, axis=1, output="label")
    model = g.model(IMAGE, {"found": (FLOAT, [1, "n", 4]), "label": (INT64, [1, "n"])})
    assert outputs(load(model, tmp_path, nms="outside")) == [
        "boxes float32 1×64×4",
        "scores float32 1×1×64",
        "which int64 1×64",
    ]


def test_outputs_beside_it_stay_and_joined_ones_with_more_in_them_come_out(tmp_path: Path) -> None:
    """A mask's coefficients lie behind the scores; the masks do not depend on the suppression."""
    g = Graph(7)
    boxes, rest = heads(g, 5)
    g.add("Sigmoid", g.conv("image", 3, 2), output="masks")
    found = g.add("Transpose", g.add("Concat", boxes, rest, axis=1), perm=[0, 2, 1], output="all")
    scores = g.add("Transpose", slice_of(g, found, 4, 6, 2), perm=[0, 2, 1])
    index = suppressed(g, slice_of(g, found, 0, 4, 2), scores)
    g.add("Gather", found, index, axis=1, output="rows")
    model = g.model(IMAGE, {"rows": (FLOAT, [1, "n", 9]), "masks": (FLOAT, [1, 2, 16, 16])})
    assert outputs(load(model, tmp_path, nms="outside")) == [
        "boxes float32 1×64×4",
        "scores float32 1×2×64",
        "masks float32 1×2×16×16",
        "all float32 1×64×9",
    ]


def test_several_are_numbered_and_names_that_are_taken_stay_apart(tmp_path: Path) -> None:
    """One suppression a class; an inner tensor is called like an output, the other a real one."""
    g = Graph(8)
    found, scores = heads(g)
    boxes = g.add("Transpose", found, perm=[0, 2, 1], output="scores_0")
    classes = [slice_of(g, scores, at, at + 1, 1, output=f"own_{at}") for at in range(2)]
    ends = [suppressed(g, boxes, each) for each in classes]
    g.add("Gather", boxes, g.add("Concat", *ends, axis=0), axis=1, output="found")
    g.add("Neg", scores, output="scores_1")
    model = g.model(IMAGE, {"found": (FLOAT, [1, "n", 4]), "scores_1": (FLOAT, [1, 2, 64])})
    loaded = load(model, tmp_path, nms="outside")
    names = [spec.name for spec in loaded.signature.outputs]
    assert names == ["boxes", "scores_0", "scores_1", "scores_1_"]
    image = images(1)
    answers = loaded.run({"image": image})
    wanted = uncut(model, ["scores_0", "own_0", "own_1", "scores_1"], image[0])
    for name, exact in zip(names, wanted, strict=True):
        np.testing.assert_allclose(answers[name], exact, rtol=1e-5, atol=1e-5)


def test_what_is_an_input_already_comes_out_under_a_name_of_its_own(tmp_path: Path) -> None:
    """A model that is given its boxes."""
    g = Graph(9)
    _, scores = heads(g)
    g.add("Gather", "boxes", suppressed(g, "boxes", scores), axis=1, output="found")
    inputs = {**IMAGE, "boxes": (FLOAT, [1, 64, 4])}
    model = g.model(inputs, {"found": (FLOAT, [1, "n", 4])})
    assert outputs(load(model, tmp_path, nms="outside")) == [
        "boxes_ float32 1×64×4",
        "scores float32 1×2×64",
    ]


# ------------------------------------------------------------------------------- inside


def plainly(boxes: Any, scores: Any, iou: float, least: float) -> list[tuple[int, int, float]]:
    """(box, class, score) of a suppression in plain Python, best first."""
    best, which = scores.max(0), scores.argmax(0)
    chosen: list[tuple[int, int, float]] = []
    for at in np.argsort(-best, kind="stable"):
        a = boxes[at]
        overlaps = []
        for other, kind, _ in chosen:
            b = boxes[other]
            sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
            both = max(sides[0], 0) * max(sides[1], 0)
            areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
            overlaps.append(kind == which[at] and both / (sum(areas) - both) > iou)
        if best[at] > least and not any(overlaps):
            chosen.append((int(at), int(which[at]), float(best[at])))
    return chosen


def two_outputs(*, turned: bool = False, centre: bool = False) -> Any:
    """Boxes as corners (or as centre and size, with a suppression) that overlap, and scores."""
    g = Graph(13)
    found, scores = heads(g, 3)
    middle = g.add("Mul", slice_of(g, found, 0, 2, 1), g.constant(np.float32(0.2)))
    size = g.add("Add", g.add("Mul", slice_of(g, found, 2, 4, 1), g.constant(np.float32(0.1))),
                 g.constant(np.float32(20)))  # fmt: skip
    half = g.add("Mul", size, g.constant(np.float32(0.5)))
    corners = (g.add("Sub", middle, half), g.add("Add", middle, half))
    parts = (middle, size) if centre else corners
    joined = g.add("Transpose", g.add("Concat", *parts, axis=1), perm=[0, 2, 1], output="where")
    plain = g.add("Transpose", g.add("Concat", *corners, axis=1), perm=[0, 2, 1], output="corners")
    named = g.add("Identity", scores, output="what")
    if centre:
        limits = (numbers(g, 10), g.constant(np.float32([0.4])), g.constant(np.float32([0.3])))
        g.add("NonMaxSuppression", joined, scores, *limits, output="found", center_point_box=1)
        return g.model(IMAGE, {"found": (INT64, ["n", 3])})
    if turned:
        named = g.add("Transpose", scores, perm=[0, 2, 1], output="turned")
    size_of_scores = [1, 64, 3] if turned else [1, 3, 64]
    return g.model(IMAGE, {named: (FLOAT, size_of_scores), plain: (FLOAT, [1, 64, 4])})


@pytest.mark.parametrize("most", [5, 60])
@pytest.mark.parametrize("kind", ["as it is", "turned", "centre"])
def test_inside_it_chooses_as_plain_python_does(kind: str, most: int, tmp_path: Path) -> None:
    model = two_outputs(turned=kind == "turned", centre=kind == "centre")
    given = "" if kind == "centre" else "iou=0.4,score=0.3,"  # its own node says the same
    loaded = load(model, tmp_path, nms=f"inside:{given}most={most}")
    shapes = {spec.name: spec.shape for spec in loaded.signature.outputs}
    boxes_name, scores_name, classes_name = list(shapes)[:3]
    assert list(shapes.values())[:3] == [(1, most, 4), (1, most), (1, most)]
    image = images(1)
    answers = loaded.run({"image": image})
    wanted_boxes = "where" if kind == "centre" else "corners"
    corners, own, scores = (each[0] for each in uncut(model, ["corners", wanted_boxes, "what"],
                                                      image[0]))  # fmt: skip
    wanted = plainly(corners, scores, 0.4, 0.3)
    assert 10 < len(wanted) < 60  # some are suppressed, and some rows stay empty
    count = min(most, len(wanted))
    rows = [at for at, _, _ in wanted[:count]]
    np.testing.assert_allclose(answers[boxes_name][0, :count], own[rows], rtol=1e-5, atol=1e-4)
    assert answers[classes_name][0, :count].tolist() == [each for _, each, _ in wanted[:count]]
    np.testing.assert_allclose(answers[scores_name][0, :count], [s for *_, s in wanted[:count]],
                               rtol=1e-5)  # fmt: skip
    assert not answers[boxes_name][0, count:].any()
    assert not answers[scores_name][0, count:].any()
    assert (answers[classes_name][0, count:] == -1).all()


@pytest.mark.parametrize(
    "text", ["within", "inside:", "inside:iou", "inside:iou=2", "inside:most=0", "inside:most=1.5",
             "inside:top=3", "inside:score=nan", "outside:iou=0.5"]
)  # fmt: skip
def test_how_it_is_written(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not of the form outside or inside"):
        opened(detector(), tmp_path, nms=text)


def test_what_cannot_be_put_inside(tmp_path: Path) -> None:
    g = Graph(10)
    g.add("Concat", *heads(g), axis=1, output="found")
    model = g.model(IMAGE, {"found": (FLOAT, [1, 6, 64])})
    with pytest.raises(ModelError, match=r"outputs are not boxes .*: found 1×6×64"):
        load(model, tmp_path, nms="inside")
    g = Graph(8)
    found, scores = heads(g)
    boxes = g.add("Transpose", found, perm=[0, 2, 1])
    ends = [suppressed(g, boxes, slice_of(g, scores, at, at + 1, 1)) for at in range(2)]
    g.add("Concat", *ends, axis=0, output="rows")
    with pytest.raises(ModelError, match="it has 2 of them"):
        load(g.model(IMAGE, {"rows": (INT64, ["n"])}), tmp_path, nms="inside")


@pytest.mark.parametrize(
    ("variant", "words"),
    [("pte-float32", "no kernel"), ("int8", "equal"), ("onnx-int8", "equal")],
)
def test_what_it_is_not_made_into(variant: str, words: str, tmp_path: Path) -> None:
    from edgekit.core.recipe import named_recipe
    from edgekit.export import EXPORTERS

    model, recipe = opened(detector(), tmp_path, nms="inside"), named_recipe(variant)
    with pytest.raises(PlanError, match=words):
        EXPORTERS[recipe.format]().step(model, recipe, None)


# ------------------------------------------------------------------------------- errors


def test_without_the_option_the_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="NonMaxSuppression") as caught:
        load(detector(), tmp_path)
    assert "--nms outside" in caught.value.hint


def test_a_model_that_has_none(tmp_path: Path) -> None:
    g = Graph(10)
    g.add("Concat", *heads(g), axis=1, output="found")
    model = g.model(IMAGE, {"found": (FLOAT, [1, 6, 64])})
    with pytest.raises(ModelError, match="no NonMaxSuppression to leave out") as caught:
        load(model, tmp_path, nms="outside")
    assert caught.value.hint == "convert it without --nms"


def test_inside_a_branch_it_cannot_be_cut_off(tmp_path: Path) -> None:
    g = Graph(11)
    found, scores = heads(g)
    boxes = g.add("Transpose", found, perm=[0, 2, 1])
    some = g.add("Greater", g.add("ReduceMax", scores, keepdims=0), g.constant(np.float32(0.5)))
    branches = []
    for name in ("then", "otherwise"):
        limits = (numbers(g, 10), g.constant(np.float32(0.5)))
        node = helper.make_node("NonMaxSuppression", [boxes, scores, *limits], [name])
        value = helper.make_tensor_value_info(name, INT64, ["n", 3])
        branches.append(helper.make_graph([node], name, [], [value]))
    g.add("If", some, then_branch=branches[0], else_branch=branches[1], output="found")
    model = g.model(IMAGE, {"found": (INT64, ["n", 3])})
    with pytest.raises(ModelError, match="inside a Loop or an If"):
        load(model, tmp_path, nms="outside")


def test_boxes_that_are_chosen_by_the_data_before_it_are_refused(tmp_path: Path) -> None:
    g = Graph(12)
    found, scores = heads(g, 1)
    row = g.add("Reshape", scores, numbers(g, 64))
    many = g.add("NonZero", g.add("Greater", row, g.constant(np.float32(0.5))))
    kept = g.add("Squeeze", many, numbers(g, 0))
    boxes = g.add("Transpose", g.add("Gather", found, kept, axis=2), perm=[0, 2, 1])
    index = suppressed(g, boxes, g.add("Gather", scores, kept, axis=2))
    g.add("Gather", boxes, index, axis=1, output="found")
    with pytest.raises(ModelError, match=r"'boxes' .* depends on the data \(NonZero\)") as caught:
        load(g.model(IMAGE, {"found": (FLOAT, [1, "n", 4])}), tmp_path, nms="outside")
    assert "--nms" not in caught.value.hint


@pytest.mark.parametrize(
    ("source", "reference"),
    [(KerasSource, "net.keras"), (TFLiteSource, "net.tflite"), (TorchSource, "net.pt2")],
)
def test_other_models_do_not_take_it(source: Any, reference: str) -> None:
    with pytest.raises(UsageError, match="--nms outside goes with an ONNX model"):
        source().open(reference, ModelOptions(nms="outside"))


def test_it_decides_how_the_model_loads(tmp_path: Path) -> None:
    whole, cut = opened(detector(), tmp_path), opened(detector(), tmp_path, nms="outside")
    assert whole.identity() != cut.identity()


def test_the_file_as_it_is_has_it_still(tmp_path: Path) -> None:
    from edgekit.core.recipe import named_recipe
    from edgekit.export.onnx import ONNXExporter

    model = opened(detector(), tmp_path, nms="outside")
    with pytest.raises(PlanError, match="cannot leave a part of it out"):
        ONNXExporter().step(model, named_recipe("onnx-original"), None)
