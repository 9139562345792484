#!/usr/bin/env python3
"""Run a model of this bundle, with the preprocessing that its manifest states.

    python3 example.py INPUT… [--variant NAME] [--threads N] [--delegate NAME]

INPUT is a .npy file with one sample, without the batch dimension and before preprocessing, one for
each input of the model; or a picture (needs Pillow) where the preprocessing makes one fit. The
README says which, and how to use the models in a program.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

# Files of Python's own in the bundle would be found by edgekit verify, as any others.
sys.dont_write_bytecode = True

from accessor import InputProblem, Model, ModelProblem  # noqa: E402

HERE = Path(__file__).resolve().parent


def read_sample(path: str) -> Any:
    if not Path(path).is_file():
        raise InputProblem(f"there is no file {path!r}")
    try:
        if path.endswith(".npy"):
            with open(path, "rb") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        image = importlib.import_module("PIL.Image")
        return np.asarray(image.open(path).convert("RGB"))
    except ModuleNotFoundError:
        raise ModelProblem("pictures need Pillow; run: python3 -m pip install pillow") from None
    except (OSError, ValueError, EOFError) as exc:
        kind = "a .npy file" if path.endswith(".npy") else "a picture"
        raise InputProblem(f"{path!r} cannot be read as {kind}: {exc}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a model of this bundle on one sample.")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="one each input; see README")
    parser.add_argument("--variant", default="", help="the manifest's default if not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--delegate", default="auto", help="auto, cpu, or a delegate's library")
    options = parser.parse_args()
    try:
        model = Model(HERE, options.variant, options.threads, options.delegate)
        answers = model.predict(*map(read_sample, options.inputs))
    except ModelProblem as exc:
        sys.exit(str(exc))
    except InputProblem as exc:
        problem = str(exc).splitlines()[0]
        sys.stderr.write(f"error: {problem}\n{model.takes()}\n")
        sys.exit(2)
    for name, values in answers.items():
        scores = values.reshape(-1)
        sys.stdout.write(f"{name} {values.dtype} {list(values.shape)}\n")
        for index in np.argsort(-scores, kind="stable")[:5]:
            known = len(model.labels) == scores.size
            label = f"  {model.labels[index]}" if known else ""
            sys.stdout.write(f"  [{index}] {scores[index]:.6g}{label}\n")


if __name__ == "__main__":
    main()
