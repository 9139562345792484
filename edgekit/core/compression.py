"""What is done to a model before it is exported: the passes of a recipe, how they train, and what
each of them bought.

    [[passes]]
    pass = "prune"
    sparsity = 0.8

    [[passes]]
    pass = "cluster"
    clusters = 16

    [training]
    epochs = 5
    learning_rate = 0.001
    [training.distill]
    temperature = 4
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from edgekit.core.noun import Noun
from edgekit.core.verdict import Score


class PassSpec(Noun):
    """One change of the model: an entry ``[[passes]]`` of a recipe file.

    Attributes:
        name: of the technique, a name in `edgekit.compress.PASSES`; "pass" in a file.
        parameters: the technique's own keys; it says which there are.
    """

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "pass" not in data:
            return data
        rest = {key: value for key, value in data.items() if key != "pass"}
        return {"name": data["pass"], "parameters": rest}

    @property
    def text(self) -> str:
        """As people read it: ``prune sparsity=0.8``."""
        said = " ".join(f"{key}={_text(value)}" for key, value in self.parameters.items())
        return f"{self.name} {said}".strip()


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Distillation(Noun):
    """The answers of the model before all passes, the teacher, as a part of the training loss.

    loss = weight · T² · KL(teacher ‖ student, both at temperature T) + (1 − weight) · the loss
    itself, where T is `temperature`: Hinton et al., https://arxiv.org/abs/1503.02531. Where the
    outputs are no scores of classes, the teacher's part is the mean squared difference. With
    `features`, feature_weight · the mean over these layers of the mean squared difference of what
    they return is added: Romero et al., https://arxiv.org/abs/1412.6550, without their regressors.

    Attributes:
        temperature: T; a larger one shows more of what the teacher thinks of the wrong classes.
        weight: of the teacher's part, 0 to 1.
        features: layers whose outputs are held to the teacher's, too; patterns (``*``, ``?``) of
            the user's own names. They have to have the teacher's shapes.
        feature_weight: of that part.
    """

    temperature: float = Field(default=4.0, gt=0, allow_inf_nan=False)
    weight: float = Field(default=0.9, ge=0, le=1)
    features: tuple[str, ...] = ()
    feature_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)


class Training(Noun):
    """How passes that train do it: ``[training]`` of a recipe file. Every pass trains so long.

    Attributes:
        epochs: over the training data, at most.
        batch: samples a step.
        learning_rate: of Adam; it falls to zero along half a cosine.
        patience: epochs without a better validation loss after which training stops; 0 never stops.
        validation: share of the training data that is held back to tell the best epoch.
        minutes: of each pass at most; 0 is no limit.
        seed: of shuffling, dropout and whatever else is drawn.
        device: ``auto`` takes the GPU that the framework finds, and the CPU where it finds none.
        precision: ``mixed`` computes products in bfloat16 (torch.autocast), for PyTorch; ``qat``
            stays in float32, whose rounding bfloat16 would blur.
        loss: ``package.module:function`` that takes (outputs, targets) as tensors of the framework,
            outputs by name where there are several, and returns a number to be made small. If
            empty: cross-entropy for class labels, mean squared error for numbers.
        distill: the teacher's part, where there shall be one.
    """

    epochs: int = Field(default=5, ge=1)
    batch: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    patience: int = Field(default=0, ge=0)
    validation: float = Field(default=0.1, gt=0, lt=1)
    minutes: float = Field(default=0, ge=0, allow_inf_nan=False)
    seed: int = 0
    device: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["float32", "mixed"] = "float32"
    loss: str = ""
    distill: Distillation | None = None


class History(Noun):
    """How a training went.

    Attributes:
        epochs: done; the best of them, from 1, is what is kept; 0 is what was there before.
        loss: on the samples held back, after each epoch.
        stopped: why it ended before the last epoch, in words; empty if it did not.
        where: what computed it where that was not the CPU in float32, in words.
    """

    epochs: int
    best: int
    steps: int
    loss: tuple[float, ...]
    stopped: str = ""
    seconds: float = 0.0
    where: str = ""


class ModelSize(Noun):
    """What a model costs before it is made an artifact.

    Attributes:
        parameters: numbers in its weights.
        nonzeros: those that are not zero.
        macs: multiply-adds of one inference.
        weight_bytes: of the weights as they are stored.
        zipped_bytes: of the same after deflate, as in the download of an app.
    """

    parameters: int
    nonzeros: int
    macs: int
    weight_bytes: int
    zipped_bytes: int


class PassReport(Noun):
    """What one pass of a recipe did, and what it bought.

    Attributes:
        spec: the pass as it was taken.
        asked: as the recipe has it; another one if that was over the budget.
        refused: what was tried before and was over the budget, in words.
        before, after: of the model it was given and of the one it made.
        score: of that one against the source model; None where nothing could be scored.
        history: of its training; None if it did not train.
        notes: the technique's own sentences.
        seconds: that it and all before it took when it was done.
    """

    spec: PassSpec
    asked: PassSpec
    refused: tuple[str, ...] = ()
    before: ModelSize
    after: ModelSize
    score: Score | None = None
    history: History | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
