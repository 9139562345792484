"""What a delegate of ExecuTorch says of itself; each of its files is a class of this kind.

The first half is for planning and imports nothing; the second half is called in the worker process
that has the delegate's compiler. https://docs.pytorch.org/executorch/stable/backends-overview.html
"""

from __future__ import annotations

from typing import Any, ClassVar

from edgekit.core.description import Coverage
from edgekit.core.errors import PlanError
from edgekit.core.quantize import Choices
from edgekit.core.recipe import QuantizationKind, Recipe
from edgekit.core.requirement import Requirement


class ExecuTorchDelegate:
    """A `Delegate` with the parts that `edgekit.export.executorch_lower` puts together.

    Attributes:
        name: what stands in variants and coverage tables.
        backend: ExecuTorch's identifier of it inside the file; empty for none.
        worker: the kind of worker process that has its compiler.
        tools: the packages whose versions the result depends on, beside executorch and torch.
        open_sizes: whether its artifacts can take any size in a range.
        integer_io: whether its artifacts can take and give 8-bit numbers.
        folded: whether the quantized program holds its weights in 8 bits already, or in float with
            marks beside them, for a compiler that wants to do that itself.
        known_options: name of an option → what it says, for people.
    """

    name = ""
    title = ""
    backend = ""
    quantizations: tuple[QuantizationKind, ...] = ("none",)
    requirements: tuple[Requirement, ...] = ()
    runs_here = False
    open_sizes = False
    worker = "torch"
    tools: tuple[str, ...] = ()
    integer_io = False
    folded = True
    known_options: ClassVar[dict[str, str]] = {}
    choices: ClassVar[dict[str, Choices]] = {}

    def check(self, recipe: Recipe) -> None:
        """Raise PlanError if `recipe` cannot be made with this delegate."""
        if recipe.quantization not in self.quantizations:
            possible = ", ".join(_said(kind) for kind in self.quantizations)
            raise PlanError(
                f"{recipe.name}: {self.title} has no {_said(recipe.quantization)}; "
                f"it has {possible}"
            )
        if recipe.io == "integer" and not self.integer_io:
            raise PlanError(
                f"{recipe.name}: {self.title} quantizes at the border inside its own graph, so the "
                "artifact's inputs and outputs stay float",
                hint=f"take {recipe.name.removesuffix('-io')}: nothing runs outside because of it",
            )
        unknown = sorted(set(recipe.options) - set(self.known_options))
        if unknown:
            known = ", ".join(self.known_options) or "none"
            raise PlanError(
                f"{recipe.name}: {self.title} has no option {unknown[0]!r}; known: {known}"
            )

    def compiler(self) -> str:
        """What tells its compiler from another, where that is not one of `tools`; after `check`."""
        return ""

    # ------------------------------------------------------------- in the worker process

    def prepared(self, program: Any) -> Any:
        """`program` with what this delegate cannot take written as what it can; before all else."""
        return program

    def partitioners(self, recipe: Recipe) -> list[Any]:
        """What takes nodes of the edge program; several are asked one after another."""
        return []

    def quantizer(self, recipe: Recipe) -> Any:
        """The quantizer of PT2E that knows what this delegate computes in 8 bits."""
        raise NotImplementedError(self.title)

    def transform_passes(self, recipe: Recipe) -> Any:
        """Passes over the edge program before it is partitioned; None for none."""
        return None

    def compile_config(self) -> Any:
        """The edge program is not verified again: torch.export has done so."""
        from executorch.exir import EdgeCompileConfig

        return EdgeCompileConfig(_check_ir_validity=False)

    def lowered(self, program: Any, recipe: Recipe) -> Any:
        """The `EdgeProgramManager` of `program` with this delegate's part taken over."""
        from executorch.exir import to_edge_transform_and_lower

        return to_edge_transform_and_lower(
            program,
            transform_passes=self.transform_passes(recipe),
            partitioner=self.partitioners(recipe),
            compile_config=self.compile_config(),
        )

    def finished(self, manager: Any, recipe: Recipe) -> Any:
        """The `ExecutorchProgramManager`, memory planned."""
        return manager.to_executorch()

    def half(self, program: Any) -> Any:
        """`program` for a float16 artifact; as it is where the delegate's compiler converts."""
        return program

    def reopened(self, blobs: list[bytes]) -> None:
        """Open what the compiler put into the file, where no runtime here can.

        Raises:
            ConversionError: it is not what the device's runtime expects.
        """

    def notes(self, recipe: Recipe, covered: Coverage) -> list[str]:
        """Sentences for the report about a file in which operators run as `covered` says."""
        return []


def _said(kind: QuantizationKind) -> str:
    return "float32" if kind == "none" else kind
