"""Loaded PyTorch programs: signatures, answers, layers, forms, and what is said when one does not
load. These run torch in the test's own process, as a worker does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.dataset import DataSet
from edgekit.core.errors import EdgekitError, ModelError, UsageError
from edgekit.core.model import InputForm, ModelOptions
from edgekit.core.tensor import Signature
from edgekit.sources.torch import TorchSource

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zoo as ``.pt2`` files."""
    import torch

    from tests import torch_zoo

    folder = tmp_path_factory.mktemp("programs")
    torch.set_num_threads(1)
    for make in torch_zoo.ALL:
        torch.export.save(torch_zoo.program(make()), folder / f"{make.__name__}.pt2")
    return folder


def load(path: Path, **options: Any) -> Any:
    from edgekit.sources import torch_worker

    return torch_worker.load(TorchSource().open(str(path), ModelOptions(**options)))


def refusal(path: Path, error: type[EdgekitError] = ModelError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        load(path, **options)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def words(signature: Signature) -> tuple[list[str], list[str]]:
    return [str(spec) for spec in signature.inputs], [str(spec) for spec in signature.outputs]


def exported(module: Any, example: tuple[Any, ...], path: Path, **more: Any) -> Path:
    import torch

    torch.export.save(torch.export.export(module, example, strict=False, **more), path)
    return path


def samples(signature: Signature, count: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        spec.name: rng.integers(0, 2, (count, *spec.shape[1:])).astype(spec.dtype)
        if spec.dtype in ("int64", "bool")
        else rng.normal(size=(count, *spec.shape[1:])).astype(spec.dtype)
        for spec in signature.inputs
    }


# --------------------------------------------------------------------------- signatures

SIGNATURES = {
    "mlp": (["features float32 1×8"], ["output float32 1×4"]),
    "cnn": (["image float32 1×3×16×16"], ["output float32 1×5"]),
    "lstm": (["steps float32 1×6×4"], ["output float32 1×3"]),
    "two_by_two": (
        ["tokens int64 1×5", "extra float32 1×4"],
        ["output_0 float32 1×4", "output_1 float32 1×2"],
    ),
    "masked": (["values float32 1×4", "keep bool 1×4"], ["output float32 1×4"]),
    "named": (
        ["one float32 1×4", "two float32 1×4"],
        ["total float32 1×4", "delta float32 1×4", "pair_0 float32 1×4", "pair_1 float32 1×4"],
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_answers_and_the_module_agree(programs: Path, name: str) -> None:
    """With the program that torch itself loads, sample by sample."""
    import torch
    from torch.utils import _pytree as pytree

    model = load(programs / f"{name}.pt2")
    assert words(model.signature) == SIGNATURES[name]
    inputs = samples(model.signature, 3)
    answers = model.run(inputs)
    assert list(answers) == [spec.name for spec in model.signature.outputs]
    program = torch.export.load(programs / f"{name}.pt2")
    for index in range(3):
        one = [torch.from_numpy(value[index : index + 1]) for value in inputs.values()]
        args, kwargs = pytree.tree_unflatten(one, program.call_spec.in_spec)
        expected = pytree.tree_leaves(program.module()(*args, **kwargs))
        for spec, leaf in zip(model.signature.outputs, expected, strict=True):
            assert answers[spec.name].dtype == spec.dtype
            np.testing.assert_allclose(
                answers[spec.name][index], leaf[0].detach().numpy(), rtol=1e-5, atol=1e-6
            )
    outputs = model.module(*model.example)
    assert isinstance(outputs, tuple)
    assert [tuple(tensor.shape) for tensor in outputs] == [s.shape for s in model.signature.outputs]
    assert model.module.eval() is model.module
    assert not any(part.training for part in model.module.modules())


def test_a_module_can_be_traced_again_and_keeps_its_layers(programs: Path) -> None:
    import torch

    model = load(programs / "cnn.pt2", forms={"": InputForm(layout="nhwc", dtype="uint8")})
    traced = torch.export.export(model.module, model.example)
    assert traced.graph_signature.user_inputs == ("image",)
    assert "stem.0.weight" in traced.state_dict
    paths = [
        [path for path, _ in node.meta["nn_module_stack"].values()][-1]
        for node in traced.graph.nodes
        if str(node.target).startswith("aten.conv2d")
    ]
    assert paths == ["stem.0", "block.0"]


def test_open_dimensions_take_the_given_sizes(programs: Path) -> None:
    path = programs / "pooled.pt2"
    for options in ({"dims": {"steps.1": (5, 5)}}, {"shapes": {"steps": (5, 4)}},
                    {"shapes": {"steps": (1, 5, 4)}}):  # fmt: skip
        assert words(load(path, **options).signature)[0] == ["steps float32 1×5×4"]
    ranged = load(path, dims={"steps.1": (3, 9)})
    assert words(ranged.signature)[0] == ["steps float32 1×3..9×4"]
    for steps in (3, 6, 9):  # what is given decides, not the example
        given = np.random.default_rng(steps).normal(size=(2, steps, 4)).astype(np.float32)
        fixed = load(path, dims={"steps.1": (steps, steps)}).run({"steps": given})
        answers = load(path, dims={"steps.1": (3, 9)}).run({"steps": given})
        for name, answer in answers.items():
            np.testing.assert_allclose(answer, fixed[name], rtol=1e-5, atol=1e-6)
    text = refusal(path)
    assert "the dimension 'steps.1'" in text
    assert "input 'steps' is ?×?×4" in text
    assert "--dim steps.1=SIZE" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dims": {"width": (5, 5)}}, "no open dimension called 'width'; its open dimensions: "
                                      "steps.0, steps.1"),
        ({"dims": {"steps.1": (65, 65)}}, "was exported for 2 to 64; it cannot be 65"),
        ({"dims": {"steps.1": (5, 5)}, "shapes": {"steps": (6, 4)}}, "cannot be both 5 and 6"),
        ({"shapes": {"steps": (5, 3)}}, "input 'steps' is ?×?×4; it cannot be 5×3"),
        ({"shapes": {"steps": (5,)}}, "it cannot be 5"),
        ({"shapes": {"other": (5, 4)}}, "no input called 'other'; its inputs: steps"),
        ({"shapes": {"steps": (2, 5, 4)}}, "has a fixed batch of 2"),
        ({"dims": {"steps.1": (5, 5)}, "forms": {"x": InputForm(dtype="uint8")}},
         "no input called 'x'"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit(programs: Path, options: dict[str, Any], said: str) -> None:
    assert said in refusal(programs / "pooled.pt2", **options)


def test_a_batch_that_the_program_does_not_hold_to_becomes_one(tmp_path: Path) -> None:
    import torch

    from tests import torch_zoo

    module, _ = torch_zoo.cnn()
    path = exported(module, (torch.randn(4, 3, 16, 16),), tmp_path / "four.pt2")
    model = load(path)
    assert words(model.signature) == SIGNATURES["cnn"]
    images = torch.randn(4, 3, 16, 16)
    np.testing.assert_allclose(
        model.run({"image": images.numpy()})["output"],
        module(images).detach().numpy(),
        rtol=1e-5,
        atol=1e-6,
    )


def _parts() -> dict[str, Callable[[Any], Any]]:
    import torch

    return {
        "view": lambda x: x.view(4, 3) * 2,
        "mean": lambda x: x - x.mean(0, keepdim=True),
        "reduced": lambda x: x.sum(0),
        "constant": lambda x: x + torch.arange(4.0).reshape(4, 1),
    }


@pytest.mark.parametrize("name", ["view", "mean", "reduced", "constant"])
def test_a_batch_that_the_program_holds_to_is_told(tmp_path: Path, name: str) -> None:
    import torch

    class Whole(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return _parts()[name](x)

    path = exported(Whole().eval(), (torch.randn(4, 3),), tmp_path / "four.pt2")
    text = refusal(path)
    assert "was exported for a batch of 4 and holds to it" in text
    assert "dynamic_shapes" in text


def test_plain_values_among_the_inputs_stay_as_exported(tmp_path: Path) -> None:
    import torch

    class Scaled(torch.nn.Module):
        def forward(self, x: Any, times: int, other: Any = None) -> Any:
            return [x * times]

    path = exported(Scaled().eval(), (torch.ones(1, 3), 3), tmp_path / "scaled.pt2")
    model = load(path)
    assert words(model.signature) == (["x float32 1×3"], ["output_0 float32 1×3"])
    assert model.run({"x": np.ones((2, 3), np.float32)})["output_0"].tolist() == [[3.0] * 3] * 2


def test_a_model_in_training_or_with_a_state_is_refused(tmp_path: Path) -> None:
    import torch

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            self.seen.add_(1)
            return x + self.seen

    one = exported(torch.nn.Dropout().train(), (torch.ones(1, 3),), tmp_path / "train.pt2")
    assert "call model.eval() before torch.export.export" in refusal(one)
    two = exported(Counting().eval(), (torch.ones(1, 3),), tmp_path / "state.pt2")
    assert "changes its own state as it runs: seen" in refusal(two)


def test_an_output_whose_size_depends_on_the_numbers_is_refused(tmp_path: Path) -> None:
    import torch

    class Found(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return {"where": torch.nonzero(x > 0)}

    path = exported(Found().eval(), (torch.ones(1, 3),), tmp_path / "found.pt2")
    text = refusal(path)
    assert "the size of output 'where'" in text
    assert "it is ?×2" in text


def test_types_that_numpy_does_not_have_are_refused(tmp_path: Path) -> None:
    import torch

    module = torch.nn.ReLU().eval()
    path = exported(module, (torch.ones(1, 3, dtype=torch.bfloat16),), tmp_path / "half.pt2")
    assert "takes or gives bfloat16" in refusal(path)
    path = exported(module, (torch.ones(1, 3, dtype=torch.float16),), tmp_path / "half.pt2")
    assert words(load(path).signature)[0] == ["input float16 1×3"]


def test_an_input_that_the_model_writes_into_is_copied(tmp_path: Path) -> None:
    import torch

    class Writing(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            x[:, 0] -= 1
            return x.mul_(2)

    model = load(exported(Writing().eval(), (torch.ones(1, 3),), tmp_path / "writing.pt2"))
    assert model.run({"x": np.ones((1, 3), np.float32)})["output"].tolist() == [[0, 2, 2]]
    given = torch.ones(1, 3)
    model.module(given)
    assert given.tolist() == [[1, 1, 1]]


# -------------------------------------------------------------------------------- forms


def test_raw_pixels_in_another_layout(programs: Path) -> None:
    mean, std = (120.5, 110.25, 100.0), (58.0, 57.5, 60.25)
    form = InputForm(layout="nhwc", dtype="uint8", mean=mean, std=std)
    plain, model = load(programs / "cnn.pt2"), load(programs / "cnn.pt2", forms={"": form})
    assert words(model.signature)[0] == ["image uint8 1×16×16×3"]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    by_hand = (pixels.astype(np.float32) - np.float32(mean)) / np.float32(std)
    expected = plain.run({"image": by_hand.transpose(0, 3, 1, 2)})["output"]
    np.testing.assert_allclose(
        model.run({"image": pixels})["output"], expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        (InputForm(layout="nchw"), "image float32 1×3×16×16"),
        (InputForm(layout="nhwc"), "image float32 1×16×16×3"),
        (InputForm(dtype="uint8"), "image uint8 1×3×16×16"),
        (InputForm(mean=(0.5,), std=(2.0,)), "image float32 1×3×16×16"),
        (InputForm(mean=(1.0, 2.0, 3.0)), "image float32 1×3×16×16"),
    ],
)
def test_each_part_of_a_form(programs: Path, form: InputForm, shape: str) -> None:
    plain, model = load(programs / "cnn.pt2"), load(programs / "cnn.pt2", forms={"image": form})
    assert words(model.signature)[0] == [shape]
    given = np.random.default_rng(0).integers(0, 256, model.signature.inputs[0].shape)
    value = given.astype(np.float32)
    axis = (1, 1, 1, 3) if form.layout == "nhwc" else (1, 3, 1, 1)
    if form.mean:
        value = value - np.float32(form.mean).reshape(axis if len(form.mean) > 1 else 1)
    if form.std:
        value = value / np.float32(form.std).reshape(axis if len(form.std) > 1 else 1)
    if form.layout == "nhwc":
        value = value.transpose(0, 3, 1, 2)
    expected = plain.run({"image": value})["output"]
    answer = model.run({"image": given.astype(model.signature.inputs[0].dtype)})["output"]
    np.testing.assert_allclose(answer, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "forms", "said"),
    [
        ("cnn", {"image": InputForm(mean=(1.0, 2.0))}, "has 3 channels; 2 numbers are given"),
        ("cnn", {"image": InputForm(std=(0.0,))}, "a standard deviation of 0"),
        ("mlp", {"features": InputForm(layout="nhwc")}, "it has 2 dimensions"),
        ("two_by_two", {"tokens": InputForm(dtype="uint8")}, "takes int64, not real numbers"),
    ],
)
def test_forms_that_do_not_fit(
    programs: Path, name: str, forms: dict[str, InputForm], said: str
) -> None:
    assert said in refusal(programs / f"{name}.pt2", UsageError, forms=forms)


# ------------------------------------------------------------------------------- layers


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("mlp", ["hidden", "act", "scores"]),
        ("cnn", ["stem.0", "stem.1", "stem.2", "block.0", "block.1", "block.2", "pool", "head"]),
        ("lstm", ["cells", "scores"]),
        ("masked", ["zeros_like", "where", "mul"]),  # no submodules: the graph's own names
    ],
)
def test_layers_have_the_users_names_in_order(programs: Path, name: str, layers: list[str]) -> None:
    model = load(programs / f"{name}.pt2")
    inputs = samples(model.signature, 2)
    found = model.layers(inputs)
    assert list(found) == layers
    last = model.run(inputs)["output"]
    np.testing.assert_array_equal(found[layers[-1]], last[:1])
    if name == "lstm":
        assert found["cells"].shape == (1, 6, 8)  # every step's output, not the last state


def test_a_missing_input_is_named(programs: Path) -> None:
    with pytest.raises(ModelError, match="no data for input 'extra'; given: tokens"):
        load(programs / "two_by_two.pt2").run({"tokens": np.zeros((1, 5), np.int64)})


def test_the_model_loaded_last_stays(programs: Path) -> None:
    first = load(programs / "mlp.pt2")
    assert load(programs / "mlp.pt2") is first
    assert load(programs / "cnn.pt2") is not first
    assert load(programs / "mlp.pt2") is not first


def test_the_reference_step_runs_it(programs: Path, tmp_path: Path) -> None:
    """Its answers are what artifacts are compared with."""
    from edgekit.verify import reference

    handle = TorchSource().open(str(programs / "two_by_two.pt2"), ModelOptions())
    np.save(tmp_path / "0.npy", np.arange(15).reshape(3, 5) % 10)
    np.save(tmp_path / "1.npy", np.ones((3, 4), np.float32))
    data = DataSet(folder=str(tmp_path), inputs=("tokens", "extra"), count=3, digest="",
                   origin="made", choice="all")  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    result = reference.run(out, handle.to_json(), data.to_json())
    assert result["layers"] == ["words", "small"]
    assert np.load(out / "0.npy").shape == (3, 4)
    assert np.load(out / "1.npy").shape == (3, 2)


# --------------------------------------------------------------------- files that are hostile


def rewritten(path: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_python_among_the_guards_is_never_run(programs: Path, tmp_path: Path) -> None:
    """torch compiles and calls it; the program is fine without."""
    import torch

    marker = tmp_path / "was run"

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        program = json.loads(content)
        code = f"__import__('pathlib').Path({str(marker)!r}).touch() is None"
        return json.dumps({**program, "guards_code": [code]}).encode()

    path = rewritten(programs / "mlp.pt2", tmp_path / "guarded.pt2", change)
    model = load(path)
    model.run(samples(model.signature, 1))
    torch.export.export(model.module, model.example)
    model.program.module()(*model.example)
    assert not marker.exists()
    torch.export.load(path).module()(torch.ones(1, 8))
    assert marker.exists()  # that is what would have happened


def test_a_pickle_that_hides_its_names_is_not_read(programs: Path, tmp_path: Path) -> None:
    """What looks plain to `examine` is still read as tensors only."""
    import torch

    marker = tmp_path / "was run"

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    # posix.mkdir, but the two texts before the name is taken say something harmless
    code = pickle.dumps(Touch(), protocol=4)
    hidden = code.replace(b"\x93", b"\x8c\x0bcollections\x8c\x0bOrderedDict00\x93", 1)
    hidden = hidden[:2] + hidden[11:]  # without the frame, whose length has changed
    buffer = io.BytesIO()
    torch.save((torch.ones(1, 8),), buffer)
    (tmp_path / "plain.pt").write_bytes(buffer.getvalue())

    def inner(name: str, content: bytes) -> bytes:
        return hidden if name.endswith("data.pkl") else content

    inputs = rewritten(tmp_path / "plain.pt", tmp_path / "evil.pt", inner).read_bytes()

    def change(name: str, content: bytes) -> bytes:
        return inputs if name.endswith("sample_inputs/model.pt") else content

    path = rewritten(programs / "mlp.pt2", tmp_path / "evil.pt2", change)
    assert "cannot be loaded" in refusal(path)
    assert not marker.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    with contextlib.suppress(OSError):
        torch.load(tmp_path / "evil.pt", weights_only=False)
    assert marker.exists()  # that is what would have happened


def test_a_file_that_is_overwritten_meanwhile_is_refused(programs: Path, tmp_path: Path) -> None:
    from edgekit.sources import torch_worker

    path = tmp_path / "model.pt2"
    path.write_bytes((programs / "mlp.pt2").read_bytes())
    handle = TorchSource().open(str(path), ModelOptions())
    torch_worker._loaded.clear()
    path.write_bytes((programs / "cnn.pt2").read_bytes())
    with pytest.raises(ModelError, match="was changed while it was being converted"):
        torch_worker.load(handle)


def test_a_file_that_is_replaced_after_it_was_looked_at_is_never_read(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody who can write where the model lies: what was examined is what is loaded."""
    from edgekit.sources import torch_worker

    path = tmp_path / "model.pt2"
    path.write_bytes((programs / "mlp.pt2").read_bytes())
    handle = TorchSource().open(str(path), ModelOptions())
    torch_worker._loaded.clear()
    examine = torch_worker.examine

    def looked_at(file: Path) -> Any:
        found = examine(file)
        path.write_bytes((programs / "cnn.pt2").read_bytes())
        return found

    monkeypatch.setattr(torch_worker, "examine", looked_at)
    assert torch_worker.load(handle).signature.inputs[0].shape == (1, 8)
    assert path.read_bytes() == (programs / "cnn.pt2").read_bytes()


def test_weights_that_are_not_there_or_too_short(programs: Path, tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content[:8] if "weights/weight_" in name else content

    text = refusal(rewritten(programs / "mlp.pt2", tmp_path / "short.pt2", change))
    assert "cannot be loaded" in text


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RuntimeError("We failed to resolve mine::run to an operator. If it's a custom op"),
         "needs the operator mine::run"),
        (ValueError("Could not guard on data-dependent expression Eq(u0, 1)"),
         "it decides by the numbers it computes"),
        (RuntimeError("Attempting to deserialize object on a CUDA device"), "on a GPU"),
        (KeyError("model"), "cannot be loaded or exported: KeyError: 'model'"),
        (ModelError("ours"), "ours"),
    ],
)  # fmt: skip
def test_every_foreign_error_becomes_one_of_ours(raised: Exception, said: str) -> None:
    from edgekit.sources.torch_words import translated

    with pytest.raises(ModelError) as caught, translated("model.pt2"):
        raise raised
    assert said in str(caught.value)
    assert caught.value is raised or caught.value.__cause__ is raised
    assert len(str(caught.value).splitlines()) <= 2
