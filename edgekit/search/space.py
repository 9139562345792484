"""Spaces: the recipes that a search may try. A file like this one:

    schema = 1

    [[family]]
    name = "lean"
    quantization = "int8"
    quantize = { ranges = { any = ["min-max", "mse"] } }

    [[family.passes]]
    pass = "shrink"
    remove = { from = 0.2, to = 0.7, step = 0.1 }

    [[family.passes]]
    pass = "qat"
    use = { any = [true, false] }

A family is a recipe without `schema`, in which any value may be left open: ``{ any = […] }`` is one
of these, ``{ from = A, to = B }`` a number between them, both included, in steps of `step` (1 for
whole numbers, a twentieth of the way for others). Of each the first value is what the search begins
with. A pass with ``use = false`` is left out. Where a family says neither `format` nor `delegate`
it is tried with each that the board's usual variants have.
"""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.locate import shipped
from edgekit.core.recipe import Recipe, named_recipe

STEPS = 20  # between the ends of a range of numbers that names no step
MOST_VALUES = 1000  # of one range

Scalar = str | int | float | bool
# The choices that make one candidate, by name; "family" is always there.
Point = dict[str, Scalar]


@dataclass(frozen=True)
class Open:
    """A value that is left open.

    Attributes:
        values: those it can have; the first is what the search begins with.
    """

    values: tuple[Any, ...]

    @property
    def ordered(self) -> bool:
        """Whether neighbours are alike, as numbers are."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    @property
    def scale(self) -> tuple[int | float, ...]:
        """Numbers in their order."""
        return tuple(sorted(self.values))

    @property
    def names(self) -> tuple[Scalar, ...]:
        """Of the values, as they stand in a `Point`: scalars as they are, all else as JSON."""
        return tuple(v if isinstance(v, Scalar) else json.dumps(v) for v in self.values)

    def value(self, name: Scalar) -> Any:
        """The value that is called so."""
        return self.values[self.names.index(name)]


@dataclass(frozen=True)
class Family:
    """Recipes that differ in what is left open.

    Attributes:
        template: the recipe; what is left open stands in it as its name in `opens`.
        opens: by name ("quantize.ranges", "shrink.remove").
    """

    name: str
    template: Mapping[str, Any]
    opens: Mapping[str, Open]

    @property
    def size(self) -> int:
        """How many recipes there are in it."""
        return math.prod(len(each.values) for each in self.opens.values())

    @property
    def first(self) -> Point:
        """What the search begins with."""
        return {"family": self.name, **{name: each.names[0] for name, each in self.opens.items()}}

    def points(self) -> Iterator[Point]:
        """All of them."""
        names = [each.names for each in self.opens.values()]
        for values in itertools.product(*names):
            yield {"family": self.name, **dict(zip(self.opens, values, strict=True))}

    def recipe(self, point: Point) -> Recipe:
        """The recipe of that point; its name is that of the variant that makes such a file.

        Raises:
            UsageError: the values do not go together.
        """
        data = _filled(
            self.template, {name: o.value(point[name]) for name, o in self.opens.items()}
        )
        place = data.pop(PLACE, None)
        if place:
            data["format"], data["delegate"] = place.split("/")
        passes = [each for each in data.pop("passes", ()) if each.pop("use", True)]
        recipe = Recipe.from_json(
            {**data, "passes": passes, "name": "new"}, where=f"the family {self.name!r}"
        )
        usual = named_recipe(recipe.variant)
        update: dict[str, Any] = {"name": recipe.variant}
        if "budget" not in data:
            update["budget"] = usual.budget
        return recipe.model_copy(update=update)


@dataclass(frozen=True)
class Space:
    """What a search may try."""

    families: tuple[Family, ...]

    @property
    def size(self) -> int:
        return sum(family.size for family in self.families)

    def points(self) -> list[Point]:
        """All of them: first those that each family begins with, then what differs from them in one
        choice, in two, and so on.
        """
        every = [
            (sum(p[name] != family.first[name] for name in family.opens), p)
            for family in self.families
            for p in family.points()
        ]
        return [point for _, point in sorted(every, key=lambda pair: pair[0])]

    def recipe(self, point: Point) -> Recipe:
        """See `Family.recipe`."""
        return self.family(point).recipe(point)

    def family(self, point: Point) -> Family:
        """Of a point."""
        return next(family for family in self.families if family.name == point["family"])


PLACE = "place"  # format and delegate, where a family leaves both to the board


def shipped_spaces() -> dict[str, str]:
    """What each space that comes with edgekit tries, by name: the first line of its file."""
    found = {}
    for path in sorted((shipped("recipes") / "spaces").glob("*.toml")):
        found[path.stem] = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return found


def space_text(reference: str) -> str:
    """The text of the space in a file, or of one that comes with edgekit.

    Raises:
        UnknownNameError: there is none of that name.
        UsageError: the file cannot be read.
    """
    if not reference.endswith(".toml"):
        if reference not in shipped_spaces():
            raise UnknownNameError("space", reference, shipped_spaces())
        reference = str(shipped("recipes") / "spaces" / f"{reference}.toml")
    try:
        return Path(reference).read_text(encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"cannot read the space {reference!r}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{reference}: not UTF-8 text") from exc


def load_spaces(references: Sequence[str], places: Sequence[tuple[str, str]]) -> Space:
    """The families of all of these spaces, names or files.

    Args:
        places: format and delegate of the board's usual variants, the first one preferred.

    Raises:
        UnknownNameError, UsageError: there is none of that name, or it is not right as written.
    """
    families = [
        family
        for reference in references
        for family in parse_space(space_text(reference), places, where=reference)
    ]
    names = [family.name for family in families]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"the family {name!r} is there twice", hint="give each family a name of its own"
            )
    return Space(tuple(families))


def parse_space(text: str, places: Sequence[tuple[str, str]], *, where: str) -> list[Family]:
    """The families in the text of a space. Raises UsageError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"{where}: not valid TOML: {exc}") from exc
    if data.pop("schema", None) != 1:
        raise UsageError(f"{where}: schema is missing", hint="write schema = 1 in its first line")
    families = data.pop("family", None)
    if data:
        raise UsageError(f"{where}: unknown key {min(data)!r} (known: schema, family)")
    if not isinstance(families, list) or not families:
        raise UsageError(f"{where}: there is no [[family]] in it")
    return [_family(each, places, where, index) for index, each in enumerate(families, start=1)]


def _family(
    data: dict[str, Any], places: Sequence[tuple[str, str]], where: str, number: int
) -> Family:
    name = data.pop("name", None)
    if not isinstance(name, str) or not name:
        raise UsageError(f"{where}: [[family]] no. {number} has no name")
    inside = f"{where}: the family {name!r}"
    for key in ("schema", "calibration"):
        if key in data:
            raise UsageError(f"{inside}: {key!r} cannot stand in a family")
    opens: dict[str, Open] = {}
    template = _opened(data, "", opens, inside)
    if "format" not in data and "delegate" not in data:
        if len(places) > 1:
            opens = {PLACE: Open(tuple("/".join(place) for place in places)), **opens}
            template[PLACE] = _Hole(PLACE)
        else:
            template["format"], template["delegate"] = places[0]
    family = Family(name, template, opens)
    try:
        family.recipe(family.first)
    except UsageError as exc:
        raise UsageError(f"{where}: {exc.message}", hint=exc.hint) from exc
    return family


@dataclass(frozen=True)
class _Hole:
    """Stands in a template where a value is left open."""

    name: str


def _opened(value: Any, name: str, opens: dict[str, Open], where: str) -> Any:
    """`value` with holes where it leaves something open; what goes there is put into `opens`."""
    if isinstance(value, dict):
        found = _open(value, f"{where}: {name or 'it'}")
        if found is not None:
            opens[name] = found
            return _Hole(name)
        return {
            key: _opened(each, f"{name}.{key}" if name else key, opens, where)
            for key, each in value.items()
        }
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        titles = _titles(value, name)
        return [
            _opened(each, title, opens, where) for each, title in zip(value, titles, strict=True)
        ]
    return value


def _titles(entries: Sequence[dict[str, Any]], name: str) -> list[str]:
    """Of the entries of a list: passes by what they do, numbered where one is there twice."""
    titles = [str(entry.get("pass", f"{name}.{index}")) for index, entry in enumerate(entries)]
    return [
        title if titles.count(title) == 1 else f"{title}#{titles[: index + 1].count(title)}"
        for index, title in enumerate(titles)
    ]


def _open(value: dict[str, Any], where: str) -> Open | None:
    """What is left open by this table; None where it is an ordinary one."""
    if set(value) == {"any"}:
        values = value["any"]
        if not isinstance(values, list):
            return None  # a layer may be called "any"
        if not values:
            raise UsageError(f"{where}: any = [] leaves nothing to choose from")
        return Open(tuple(values))
    if not {"from", "to"} <= set(value) <= {"from", "to", "step"}:
        return None
    numbers = [value["from"], value["to"], value.get("step", 1)]
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        return None
    low, high = numbers[0], numbers[1]
    whole = isinstance(low, int) and isinstance(high, int) and isinstance(numbers[2], int)
    step = value.get("step", 1 if whole else (high - low) / STEPS)
    if not all(math.isfinite(n) for n in (low, high, step)) or step <= 0 or high <= low:
        raise UsageError(
            f"{where}: from = {low}, to = {high}, step = {step} is no range",
            hint="for example { from = 0.2, to = 0.7, step = 0.1 }",
        )
    count = math.floor((high - low) / step + 1e-9) + 1
    if count > MOST_VALUES:
        raise UsageError(f"{where}: {count} values are too many; at most {MOST_VALUES}")
    # 0.2 + 0.1 is not 0.3: rounded to what a person would write.
    values = tuple(
        low + index * step if whole else round(low + index * step, 6) for index in range(count)
    )
    return Open(values)


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a template with values in its holes."""
    if isinstance(value, _Hole):
        return values[value.name]
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    return value
