"""One pass, in a worker process of the model's framework."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.compress import technique
from edgekit.compress.net import Net, check_finite, open_net, save_net, taken
from edgekit.compress.training import Samples, Trainer
from edgekit.core.compression import PassSpec, Training
from edgekit.core.dataset import DataSet
from edgekit.core.files import ZIP_LEVEL
from edgekit.core.model import Model
from edgekit.core.sensitivity import TechniqueSensitivity
from edgekit.work.cache import RESULT_FILE


def run(
    out: Path,
    *,
    spec: dict[str, Any],
    before: list[dict[str, Any]],
    training: dict[str, Any],
    opener: str,
    origin: dict[str, Any],
    model: dict[str, Any],
    data: dict[str, Any] | None,
    checkpoint: str,
    cores: int,
    teacher: str | None = None,
    sensitivity: str | None = None,
    teacher_model: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """See `edgekit.compress.pass_step`.

    Raises:
        ConversionError: training came to nothing.
        DataError: the training data does not fit.
        ModelError: a weight is no number.
        UsageError: a layer that is named is not there.
    """
    import numpy as np

    wanted = PassSpec.from_json(spec)
    handle = Model.from_json(model)
    net = open_net(opener, Model.from_json(origin), handle)
    check_finite(net)
    net.cores = cores
    found = technique(wanted, wanted.name)
    trainer = None
    if found.trains and data is not None:
        samples = Samples(DataSet.from_json(data), net.live, Path(teacher) if teacher else None)
        earlier = [technique(PassSpec.from_json(each), "an earlier pass") for each in before]
        settings = found.trained_by(Training.from_json(training), earlier)

        def holds() -> list[Callable[[], None]]:
            return [hold for each in earlier if (hold := each.hold(net)) is not None]

        trainer = Trainer(
            wanted.name, net, samples, settings, Path(checkpoint), holds(), find_holds=holds
        )
        if teacher_model is not None:
            source = Model.from_json(teacher_model)
            trainer.teacher = open_net(opener, Model.from_json(origin), source)
    elif found.probes and data is not None:
        known = DataSet.from_json(data)
        net.samples = taken(known, net.live, np.arange(min(found.probes, known.count)))
    notes = []
    if sensitivity is not None:
        kept = json.loads((Path(sensitivity) / RESULT_FILE).read_text(encoding="utf-8"))
        found, said = found.selected(TechniqueSensitivity.from_json(kept["sensitivity"]))
        notes.append(said)
    notes += found.apply(net, trainer)
    made = save_net(net, out)
    history = trainer.history if trainer else None
    if trainer is not None:
        notes += _outputs(net, trainer)
    if history and history.where:
        notes.append(f"trained on {history.where}")
    return {
        "model": made.to_json(),
        "notes": notes,
        "history": history.to_json() if history else None,
    }


def _outputs(net: Net, trainer: Trainer) -> list[str]:
    """What has to be told where labels speak of one output of several."""
    names = [spec.name for spec in net.live.signature.outputs]
    loss = trainer.loss
    if len(names) < 2 or loss is None or loss.kind == "own":
        return []
    others = ", ".join(name for index, name in enumerate(names) if index != loss.output)
    taught = trainer.training.distill is not None
    held = "held to the teacher's" if taught else "nothing held them; [training.distill] does"
    return [f"the labels trained {names[loss.output]}; {others}: {held}"]


def most(
    out: Path,
    *,
    spec: dict[str, Any],
    opener: str,
    origin: dict[str, Any],
    model: dict[str, Any],
) -> dict[str, Any]:
    """See `edgekit.compress.most_step`."""
    wanted = PassSpec.from_json(spec)
    net = open_net(opener, Model.from_json(origin), Model.from_json(model))
    return {"most": technique(wanted, wanted.name).most(net)}


def size(
    out: Path, *, opener: str, origin: dict[str, Any], model: dict[str, Any]
) -> dict[str, Any]:
    """See `edgekit.compress.size_step`."""
    import numpy as np

    net = open_net(opener, Model.from_json(origin), Model.from_json(model))
    packer = zlib.compressobj(ZIP_LEVEL)
    zipped = parameters = nonzeros = stored = 0
    for array in net.state().values():
        parameters += array.size
        nonzeros += int(np.count_nonzero(array))
        stored += array.nbytes
        zipped += len(packer.compress(np.ascontiguousarray(array).tobytes()))
    zipped += len(packer.flush())
    return {
        "size": {
            "parameters": parameters,
            "nonzeros": nonzeros,
            "weight_bytes": stored,
            "zipped_bytes": zipped,
        }
    }
