"""Starting is cheap: no framework, and nothing heavy, is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FRAMEWORKS = {"tensorflow", "keras", "tf_keras", "torch", "ai_edge_litert", "ai_edge_quantizer"}
HEAVY = FRAMEWORKS | {
    "numpy",
    "pydantic",
    "rich",
    "paramiko",
    "adbutils",
    "scipy",
    "jinja2",
    "h5py",
    "PIL",
}


def modules_after(code: str) -> set[str]:
    """Top-level modules that are loaded after `code` ran in a fresh interpreter."""
    script = (
        f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}}, sep='\\n')"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import edgekit",
        "import sys; sys.argv = ['edgekit', '--help']\n"
        "from edgekit.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
    ids=["import edgekit", "edgekit --help"],
)
def test_imports_nothing_heavy(code: str) -> None:
    assert modules_after(code) & HEAVY == set()


@pytest.mark.parametrize(
    "name", ["convert", "profile", "report", "bundle", "inspect", "devices", "clean"]
)
def test_no_command_imports_a_framework_for_its_help(name: str) -> None:
    code = (
        f"import sys; sys.argv = ['edgekit', {name!r}, '--help']\n"
        "from edgekit.cli import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert modules_after(code) & FRAMEWORKS == set()


def test_the_help_lists_what_each_command_says_of_itself() -> None:
    from edgekit.cli import COMMANDS
    from edgekit.core.registry import resolve

    for name, (reference, text) in COMMANDS.items():
        command = resolve(reference)
        assert command.name == name
        assert command.get_short_help_str(limit=200) == text


@pytest.mark.slow
def test_a_module_beside_the_model_is_not_run(desk: Path, keras3: Path, fresh_cache: Path) -> None:
    """TensorFlow looks for pandas and does without; the current folder may be anybody's."""
    for name in ("pandas", "jax", "json", "tensorflow"):
        (desk / f"{name}.py").write_text("open('ran', 'w').close()\nraise ImportError\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "edgekit", "convert", str(keras3 / "cnn.keras"),
         "--for", "host", "--variant", "float32", "-o", "b"],
        cwd=desk, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert not (desk / "ran").exists()
