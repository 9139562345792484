"""Plugins by name: a string that is imported on use, or another package's entry point."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from edgekit.core.errors import UnknownNameError, UsageError


def resolve(reference: str) -> Any:
    """The object that ``package.module:attribute`` names; imports the module.

    Raises:
        UsageError: not of that form, no such module, or no such attribute in it.
    """
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


class Registry:
    """Named plugins of one kind.

    Args:
        kind: what they are, for error messages ("exporter").
        builtin: name to ``module:attribute``; imported when first asked for.

    Other packages add theirs under the entry-point group ``edgekit.<kind>s``.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self._builtin = dict(builtin)

    def _references(self) -> dict[str, str]:
        found = {point.name: point.value for point in entry_points(group=f"edgekit.{self.kind}s")}
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
