"""Which source gets a function: told by its module's imports, which is not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import UsageError
from edgekit.core.model import ModelOptions
from edgekit.sources import SOURCES
from edgekit.sources.functions import framework_of, function_in


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"raise SystemExit('it was run')\nbuild = 1\n{text}", encoding="utf-8")


def takers(reference: str) -> list[str]:
    return [name for name in SOURCES if SOURCES[name]().accepts(reference)]


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("import torch", "torch"),
        ("from torch import nn", "torch"),
        ("import torchvision.models as m", "torch"),
        ("def build():\n    import torch.nn as nn", "torch"),
        ("import keras", "keras"),
        ("from tensorflow import keras", "keras"),
        ("import tf_keras, numpy", "keras"),
    ],
)
def test_the_imports_tell_and_nothing_is_run(here: Path, text: str, source: str) -> None:
    write(here, "models_a.py", text)
    assert takers("models_a:build") == [source]


def test_packages_are_looked_into_without_running_them(here: Path) -> None:
    write(here, "pack/__init__.py", "")
    write(here, "pack/nets/__init__.py", "import keras")
    write(here, "pack/nets/small.py", "import torch")
    assert takers("pack.nets.small:build") == ["torch"]
    assert takers("pack.nets:build") == ["keras"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import torch\nimport keras", "imports both torch and Keras"),
        ("from .nets import build", "imports neither torch nor Keras"),
        ("from . import torch", "imports neither torch nor Keras"),
        ("x = 'import torch'", "imports neither torch nor Keras"),
    ],
)
def test_where_they_do_not_tell_a_prefix_does(here: Path, text: str, said: str) -> None:
    write(here, "models_b.py", text)
    with pytest.raises(UsageError, match=said) as caught:
        framework_of("models_b:build")
    assert "torch:models_b:build or keras:models_b:build" in caught.value.hint
    for name in ("torch", "keras"):
        assert takers(f"{name}:models_b:build") == [name]
        model = SOURCES[name]().open(f"{name}:models_b:build", ModelOptions())
        assert (model.name, model.reference, model.kind) == ("build", "models_b:build", "function")


def test_modules_that_are_not_there_or_no_python(here: Path) -> None:
    with pytest.raises(UsageError, match="no module called 'models_none'"):
        framework_of("models_none:build")
    write(here, "models_c.py", "")
    with pytest.raises(UsageError, match=r"no module called 'models_c\.inner'"):
        framework_of("models_c.inner:build")
    (here / "models_d.py").write_text("def build(:\n", encoding="utf-8")
    with pytest.raises(UsageError, match="not valid Python, line 1"):
        framework_of("models_d:build")
    with pytest.raises(UsageError, match="imports neither"):
        framework_of("sys:exit")


def test_what_is_a_function(here: Path) -> None:
    assert function_in("package.module:build") == "package.module:build"
    assert function_in("torch:package.module:Class.build") == "package.module:Class.build"
    assert function_in("torch:build") == "torch:build"  # the module torch's own
    assert function_in("model.pt2") is None
    assert function_in("ssh://host:22") is None
    (here / "a:b").touch()
    assert function_in("a:b") is None
    with pytest.raises(UsageError, match="write mk:build"):
        function_in("torch:mk.py:build")
