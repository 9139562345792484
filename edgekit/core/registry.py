"""Plugins by name: a string that is imported on use, or another package's entry point."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.files import sha256_file


def refuse_file(reference: str) -> None:
    """Raise UsageError if `reference` names a function by its file, ``folder/mk.py:function``.

    Importing ``mk.py`` would run mk, and only then find that it is no package with a ``py`` in it.
    """
    file, _, attribute = reference.rpartition(":")
    if not file.endswith(".py") or "://" in reference:
        return
    folder, _, name = file.replace("\\", "/").rpartition("/")
    where = f", in the folder {folder!r}" if folder else ""
    raise UsageError(
        f"{reference!r} names a file; a function is named by its module, without .py",
        hint=f"write {name.removesuffix('.py')}:{attribute or 'function'}{where}",
    )


def resolve(reference: str) -> Any:
    """The object that ``package.module:attribute`` names; imports the module.

    Raises:
        UsageError: not of that form, no such module, or no such attribute in it.
    """
    refuse_file(reference)
    module_name, colon, attribute = reference.partition(":")
    if not colon or not module_name or not attribute:
        raise UsageError(f"{reference!r} is not of the form package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        missing = exc.name or module_name
        what = "no module" if module_name.startswith(missing) else "it imports a missing module"
        raise UsageError(
            f"{reference!r}: {what} called {missing!r}",
            hint="check the name, and that it can be imported from the current folder",
        ) from exc
    found = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as exc:
            raise UsageError(f"{reference!r}: {module_name} has no {attribute!r}") from exc
    return found


def resolve_own(reference: str) -> Any:
    """`resolve` for a function that the user named: its module may lie in the current folder.

    Only now does that folder join the places that modules come from, at their end. Libraries look
    for packages that they can do without, and a pandas.py beside a model is none of the user's.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return resolve(reference)


def find_module(function: str) -> ModuleSpec:
    """Where the module of ``package.module:function`` is, as `resolve_own` finds it; nothing runs.

    importlib.util.find_spec would run the packages that it lies in.

    Raises:
        UsageError: there is none, or its text has no such name in it.
    """
    module, _, attribute = function.partition(":")
    path: list[str] | None = [*sys.path, str(Path.cwd())]  # as `resolve_own` looks
    name, spec = "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        # A module that does not lie in a folder or an archive (a built-in one) has no text.
        # By its last part alone: a package without __init__.py asks for its parent in sys.modules.
        spec = PathFinder.find_spec(part, path) if path is not None else None
        if spec is None:
            if name in sys.builtin_module_names:
                return ModuleSpec(name, None)
            if name == part and name not in sys.modules:  # an editable install's own way to it
                spec = importlib.util.find_spec(name)
        if spec is None:
            raise UsageError(
                f"{function!r}: no module called {name!r}",
                hint="check the name, and that it can be imported from the current folder",
            )
        locations = spec.submodule_search_locations
        path = None if locations is None else list(locations)
    assert spec is not None
    _require_name(module, attribute.partition(".")[0], spec)
    return spec


# What gives a module names that do not stand in its text.
_MAKES_NAMES = re.compile(r"import\s*\*|__getattr__|__dict__|\b(globals|vars|setattr|exec)\b")
_OWN_NAMES = re.compile(r"^(?:(?:async +)?def|class) +(\w+)|^(\w+) *[:=]", re.MULTILINE)


def _require_name(module: str, name: str, spec: ModuleSpec) -> None:
    """Raise UnknownNameError where the text of the module shows that it has no such name.

    A name that stands anywhere in it may be one of the module's: that is known when it has run. A
    package has its modules as names, too.
    """
    if not name or spec.submodule_search_locations is not None:
        return
    if not (spec.origin or "").endswith(".py"):
        return
    try:
        text = Path(spec.origin or "").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return  # whoever imports it says what is wrong
    if re.search(rf"\b{re.escape(name)}\b", text) or _MAKES_NAMES.search(text):
        return
    known = {found for pair in _OWN_NAMES.findall(text) for found in pair if found}
    raise UnknownNameError(f"function in {module}", name, known)


def code_beside(function: str) -> list[list[str]]:
    """Name and SHA-256 of the ``.py`` files in the folder of ``package.module:function``: what a
    result of that function depends on, as far as one can tell without running it.

    Raises:
        UsageError: there is no such module.
    """
    origin = find_module(function).origin
    beside = sorted(Path(origin).parent.glob("*.py")) if origin else []
    return [[path.name, sha256_file(path)] for path in beside]


class Registry:
    """Named plugins of one kind.

    Args:
        kind: what they are, for error messages ("exporter").
        builtin: name to ``module:attribute``; imported when first asked for.
        group: of entry points, under which other packages add theirs; ``edgekit.<kind>s``.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], group: str = "") -> None:
        self.kind, self.group = kind, group or f"edgekit.{kind}s"
        self._builtin = dict(builtin)

    def _references(self) -> dict[str, str]:
        found = {point.name: point.value for point in entry_points(group=self.group)}
        return found | self._builtin

    def names(self) -> list[str]:
        return sorted(self._references())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __getitem__(self, name: str) -> Any:
        """The plugin called `name`.

        Raises:
            UnknownNameError: no plugin has that name.
        """
        # Built-ins first: looking up entry points scans the installed packages.
        reference = self._builtin.get(name) or self._references().get(name)
        if reference is None:
            raise UnknownNameError(self.kind, name, self.names())
        return resolve(reference)
