"""From PyTorch models to ExecuTorch files, through real worker processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgekit.core.dataset import DataSet
from edgekit.core.description import Coverage
from edgekit.core.errors import ConversionError, DataError, EdgekitError
from edgekit.core.model import ModelOptions
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.core.tensor import Signature
from edgekit.export import EXPORTERS
from edgekit.sources.keras import KerasSource
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Outcome, Step, run_steps
from tests.torch_nets import handle

pytestmark = pytest.mark.slow

SHAPES: dict[str, dict[str, tuple[tuple[int, ...], str]]] = {
    "cnn": {"image": ((3, 16, 16), "float32")},
    "pools": {"image": ((3, 16, 16), "float32")},
    "detector": {"image": ((3, 8, 8), "float32")},
    "lstm": {"sound": ((5, 4), "float32")},
    "scaled": {"image": ((3, 6, 5), "float32")},
    "mlp": {"features": ((8,), "float32")},
    "words": {"ids": ((6,), "int64"), "padded": ((6,), "bool")},
    "wraps": {"ids": ((6,), "int64")},
}
WANTED = [
    ("cnn", "pte-float32"),
    ("cnn", "pte-float16"),
    ("cnn", "pte-dynamic"),
    ("cnn", "pte-int8"),
    ("cnn", "pte-portable-float32"),
    ("cnn", "pte-vulkan-float16"),
    ("cnn", "pte-coreml-float16"),
    ("pools", "pte-vulkan-float32"),
    ("pools", "pte-coreml-float16"),
    ("mlp", "pte-float32"),
    ("mlp", "pte-int8"),
    ("mlp", "pte-vulkan-dynamic"),
    ("detector", "pte-int8"),
    ("words", "pte-float32"),
    ("wraps", "pte-dynamic"),
    ("wraps", "pte-int8"),
    ("lstm", "pte-int8"),
    ("scaled", "pte-float32"),
    ("scaled", "pte-int8"),
    ("unsupported", "pte-float32"),
    ("decides", "pte-float32"),
]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One set of warm workers for all tests of this file."""
    with Pool() as workers:
        yield workers


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def samples(folder: Path, net: str, count: int = 16, spoil: float = 0.0) -> DataSet:
    """Normal numbers, small whole numbers and nothing padded; `spoil` is put into the last."""
    place = folder / f"{net}{spoil}"
    place.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index, (shape, dtype) in enumerate(SHAPES[net].values()):
        whole = dtype != "float32"
        array = rng.integers(0, 20, (count, *shape)) if whole else rng.normal(size=(count, *shape))
        array = (array * 0 if dtype == "bool" else array).astype(dtype)
        if spoil:
            array[-1] = spoil
        np.save(place / f"{index}.npy", array)
    return DataSet(
        folder=str(place), inputs=tuple(SHAPES[net]), count=count, digest=f"{net}{spoil}",
        origin="test", choice="all",
    )  # fmt: skip


def step(net: str, variant: str, data: DataSet | None = None) -> Step:
    made: Step = EXPORTERS["executorch"]().step(handle(net), named_recipe(variant), data)
    return made


def on(made: Step, function: str, net: str = "") -> Step:
    """A step of `tests.torch_nets` on what `made` left."""
    arguments = {"model": handle(net).to_json()} if net else {}
    return Step(
        title=function, function=f"tests.torch_nets:{function}", worker="torch",
        arguments=arguments, needs={"made": made},
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(pool: Pool, cache: Cache, folder: Path) -> dict[tuple[str, str], Outcome]:
    """All artifacts of this file, made side by side."""
    steps = {
        (net, variant): step(net, variant, samples(folder, net) if net in SHAPES else None)
        for net, variant in WANTED
    }
    outcomes = run_steps(steps.values(), pool=pool, cache=cache)
    return {key: outcomes[each] for key, each in steps.items()}


def done(outcome: Outcome) -> Done:
    if isinstance(outcome, EdgekitError):
        raise outcome
    return outcome


def ran(made: Step, pool: Pool, cache: Cache) -> dict[str, Any]:
    return done(run_steps([made], pool=pool, cache=cache)[made]).result


def covered(outcome: Outcome) -> Coverage:
    return Coverage.from_json(done(outcome).result["coverage"])


# --------------------------------------------------------------------------------- what is made


@pytest.mark.parametrize(
    ("net", "variant", "least_db"),
    [
        ("cnn", "pte-float32", 100),
        ("cnn", "pte-portable-float32", 100),
        ("cnn", "pte-float16", 50),
        ("cnn", "pte-dynamic", 30),
        ("cnn", "pte-int8", 30),
        ("scaled", "pte-float32", 100),
        ("scaled", "pte-int8", 30),
        ("mlp", "pte-float32", 100),
        ("detector", "pte-int8", 30),
        ("words", "pte-float32", 100),
        ("wraps", "pte-dynamic", 30),
        ("wraps", "pte-int8", 30),
        ("lstm", "pte-int8", 20),
    ],
)
def test_a_file_answers_like_the_model(
    made: Any, pool: Pool, cache: Cache, folder: Path, net: str, variant: str, least_db: float
) -> None:
    done(made[net, variant])
    found = ran(
        on(step(net, variant, samples(folder, net)), "compare_pte", net), pool=pool, cache=cache
    )

    assert min(found["snr_db"]) > least_db
    assert variant != "pte-float32" or found["worst"] < 1e-4


def test_the_float_file_is_the_one_made_by_hand(made: Any, pool: Pool, cache: Cache) -> None:
    hand = Step(
        title="by hand", function="tests.torch_nets:by_hand", worker="torch",
        arguments={"model": handle("mlp").to_json()},
    )  # fmt: skip

    assert done(made["mlp", "pte-float32"]).result["sha256"] == ran(hand, pool, cache)["sha256"]


def test_a_mean_over_the_image_does_not_split_the_graph(made: Any) -> None:
    for variant in ("pte-float32", "pte-int8", "pte-vulkan-float16", "pte-coreml-float16"):
        coverage = covered(made["cnn", variant])
        assert coverage.partitions == 1
        assert coverage.share_of_operators(named_recipe(variant).delegate) == 1


def test_coverage_has_multiply_adds_and_the_users_layers(made: Any) -> None:
    nodes = {node.layer: node for node in covered(made["cnn", "pte-float32"]).nodes if node.macs}

    assert {name: node.macs for name, node in nodes.items()} == {
        "first.0": 16 * 16 * 8 * 3 * 9,
        "depthwise": 8 * 8 * 8 * 9,
        "head": 8 * 5,
    }
    assert {node.where for node in nodes.values()} == {"xnnpack"}
    assert nodes["first.0"].operator == "aten.convolution.default"
    assert nodes["first.0"].dtype == "float32"


def test_what_is_left_to_portable_kernels_is_said_with_its_layer(made: Any) -> None:
    (note,) = done(made["words", "pte-float32"]).result["notes"]

    assert "left to portable kernels" in note
    assert "1 × aten.embedding.default (embedding)" in note
    assert "(encoder.norm1, encoder.norm2)" in note
    assert 0.5 < covered(made["words", "pte-float32"]).share_of_operators("xnnpack") < 0.8
    assert covered(made["words", "pte-float32"]).share_of_macs("xnnpack") == 1


def test_portable_kernels_take_everything_only_when_asked(made: Any) -> None:
    result = done(made["cnn", "pte-portable-float32"]).result

    assert covered(made["cnn", "pte-portable-float32"]).partitions == 0
    assert result["notes"] == []


def test_the_signature_is_the_models_with_types_from_the_file(made: Any) -> None:
    words = Signature.from_json(done(made["words", "pte-float32"]).result["signature"])
    half = Signature.from_json(done(made["cnn", "pte-float16"]).result["signature"])

    assert [str(spec) for spec in words.inputs] == ["ids int64 1×6", "padded bool 1×6"]
    assert [str(spec) for spec in words.outputs] == ["output_0 float32 1×3"]
    assert [str(spec) for spec in half.inputs] == ["image float32 1×3×16×16"]


def test_int8_is_smaller_and_says_what_stays_in_float(made: Any) -> None:
    notes = done(made["cnn", "pte-dynamic"]).result["notes"]

    assert any("1 of 3 convolutions and products stay in float32" in note for note in notes)
    assert any("(depthwise)" in note for note in notes)
    assert done(made["cnn", "pte-int8"]).result["notes"] == []
    assert done(made["mlp", "pte-int8"]).result["notes"] == []  # with a bias that layers share


def test_boxes_and_scores_are_quantized_apart(made: Any, pool: Pool, cache: Cache) -> None:
    result = done(made["detector", "pte-int8"]).result

    assert any("join of outputs 'cat' stays in float32" in note for note in result["notes"])


def test_what_cannot_run_here_brings_its_program(
    made: Any, pool: Pool, cache: Cache, folder: Path
) -> None:
    for variant, what in (
        ("pte-coreml-float16", "the program before lowering"),
        ("pte-vulkan-float16", "the program before lowering"),
    ):
        outcome = done(made["cnn", variant])
        assert outcome.result["stand_in"] == {
            "file": "program.pt2", "format": "pt2", "what": what,
        }  # fmt: skip
        made_again = step("cnn", variant, samples(folder, "cnn"))
        found = ran(on(made_again, "compare_program", "cnn"), pool, cache)
        assert min(found["snr_db"]) > 30
    assert "stand_in" not in done(made["cnn", "pte-int8"]).result


def test_what_compilers_wrote_can_be_opened(
    made: Any, pool: Pool, cache: Cache, folder: Path
) -> None:
    def opened(net: str, variant: str) -> dict[str, Any]:
        return ran(on(step(net, variant, samples(folder, net)), "structure"), pool, cache)

    vulkan, half = opened("cnn", "pte-vulkan-float16"), opened("cnn", "pte-coreml-float16")
    dense = opened("mlp", "pte-vulkan-dynamic")

    assert vulkan["delegates"] == dense["delegates"] == ["VulkanBackend"]
    assert half["delegates"] == ["CoreMLBackend"]
    assert vulkan["kernels"] == half["kernels"] == []
    assert half["coreml"][0].count("conv") == 2


@pytest.mark.parametrize("variant", ["pte-vulkan-float32", "pte-coreml-float16"])
def test_infinite_padding_and_a_stride_that_is_not_said(made: Any, variant: str) -> None:
    coverage = covered(made["pools", variant])
    pools = [node for node in coverage.nodes if "pool" in node.operator.lower()]
    assert pools
    assert {node.where for node in pools} == {variant.split("-")[1]}


def test_the_way_and_its_start_are_said(made: Any) -> None:
    result = done(made["cnn", "pte-int8"]).result

    assert result["way"] == "torch.export → ExecuTorch, XNNPACK"
    assert result["tools"] == ["executorch", "torch", "torchao"]
    assert len(result["parent"]) == 64
    assert covered(made["cnn", "pte-int8"]).source.startswith("ExecuTorch ")


# ------------------------------------------------------------------------------------- failures


def test_an_operator_without_a_kernel_is_named_with_its_layer(made: Any) -> None:
    error = made["unsupported", "pte-float32"]

    assert isinstance(error, ConversionError)
    assert "aten::_linalg_svd" in str(error)
    assert "layer spectrum" in str(error)
    assert "TFLite" in error.hint


def test_a_model_that_decides_by_its_numbers_names_its_line(made: Any) -> None:
    error = made["decides", "pte-float32"]

    assert isinstance(error, ConversionError)
    assert "torch.export cannot trace the model" in str(error)
    assert "torch_nets.py:" in str(error)
    assert "torch.cond" in error.hint


def test_samples_that_are_not_finite_are_refused(pool: Pool, cache: Cache, folder: Path) -> None:
    bad = step("mlp", "pte-int8", samples(folder, "mlp", spoil=float("inf")))

    error = run_steps([bad], pool=pool, cache=cache)[bad]

    assert isinstance(error, DataError)
    assert "not finite" in str(error)
    assert "--calibration" in error.hint


def test_keras_scales_the_channels_of_a_sum(keras3: Path, pool: Pool, cache: Cache) -> None:
    model = KerasSource().open(str(keras3 / "residual.keras"), ModelOptions())
    lowered = EXPORTERS["executorch"]().step(model, named_recipe("pte-float32"), None)
    program = lowered.needs["program"]
    check = Step(
        title="compare", function="tests.torch_nets:compare_with_program", worker="torch",
        needs={"made": lowered, "program": program},
    )  # fmt: skip

    outcomes = run_steps([lowered, check], pool=pool, cache=cache)

    assert min(done(outcomes[check]).result["snr_db"]) > 100
    nodes = covered(outcomes[lowered]).nodes
    assert {node.where for node in nodes} == {"xnnpack"}
    assert "aten.mul.Tensor" in {node.operator for node in nodes}


def test_a_softmax_over_columns_is_not_one_over_channels(pool: Pool, cache: Cache) -> None:
    net = json.dumps([["conv", 0], ["softmax", 2]])

    found = ran(on(step(net, "pte-float32"), "compare_pte", net), pool, cache)

    assert min(found["snr_db"]) > 80


# ------------------------------------------------------------------------------- random graphs

LAYERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["conv", "depthwise", "transposed", "norm", "group-norm", "activation", "pool",
             "resize", "residual", "pad", "softmax"]
        ),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip


@settings(
    max_examples=5, deadline=None, derandomize=True,
    phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(layers=LAYERS)
def test_any_small_graph_answers_like_the_model(
    pool: Pool, cache: Cache, layers: list[tuple[str, int]]
) -> None:
    net = json.dumps(layers)

    found = ran(on(step(net, "pte-float32"), "compare_pte", net), pool, cache)

    assert min(found["snr_db"]) > 80


@pytest.mark.parametrize(
    "table",
    [
        {"weights": "per-tensor", "ranges": "min-max"},
        {"ranges": "moving-average", "float": ["head"]},
    ],
)
def test_other_ways_to_quantize(
    pool: Pool, cache: Cache, folder: Path, made: Any, table: dict[str, Any]
) -> None:
    about = {"name": "x", "format": "executorch", "quantization": "int8", "quantize": table}
    data = samples(folder, "cnn")
    step = EXPORTERS["executorch"]().step(handle("cnn"), Recipe.from_json(about), data)
    outcome = done(run_steps([step], pool=pool, cache=cache)[step])
    usual = done(made["cnn", "pte-int8"])
    assert outcome.result["sha256"] != usual.result["sha256"]
    found = ran(on(step, "compare_pte", "cnn"), pool=pool, cache=cache)
    assert min(found["snr_db"]) > 15
    in_float = "in float, as the recipe says: head" in outcome.result["notes"]
    assert in_float == ("float" in table)
