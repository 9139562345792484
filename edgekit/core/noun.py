"""The base of every noun: a frozen, validated value with a stable fingerprint and a JSON form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from edgekit.core.errors import UsageError


class Noun(BaseModel):
    """A frozen value. Unknown keys are refused, so a typo in a file never passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of `from_json`."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, data: Any, *, where: str = "") -> Self:
        """Validate `data`.

        Raises:
            UsageError: a key is unknown, missing or of the wrong type; names it and `where`.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as exc:
            raise UsageError(explain(exc, where or cls.__name__, cls)) from exc

    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON form, in hex."""
        return json_digest(self.to_json())


def json_digest(data: Any) -> str:
    """SHA-256 in hex over `data` as JSON with sorted keys and no spaces."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


NAMED = 6  # keys that one message names; a file that anybody may have written can have any number


def explain(exc: ValidationError, where: str, cls: type[BaseModel]) -> str:
    """A pydantic error in one line: every missing and unknown key, and the first wrong value.

    `cls` is what was validated; the keys it knows are told where one is unknown.
    """
    errors = exc.errors(include_url=False)
    missing = [error["loc"] for error in errors if error["type"] == "missing"]
    unknown = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
    others = [e for e in errors if e["type"] not in ("missing", "extra_forbidden")]
    problems = []
    if missing:
        is_missing = "is missing" if len(missing) == 1 else "are missing"
        problems.append(f"{_keys(missing)} {is_missing}")
    if unknown:
        text = f"unknown {_keys(unknown)}"
        known = _known(cls, unknown[0][:-1])
        problems.append(f"{text} (known: {', '.join(known)})" if known else text)
    if others:
        value = f"{_key(others[0]['loc'])} = {others[0].get('input')!r}: {others[0]['msg']}"
        problems.append(value + (f" (and {len(others) - 1} more)" if len(others) > 1 else ""))
    return f"{where}: {'; '.join(problems)}"


def _key(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc) or "the whole"


def _keys(locs: list[tuple[int | str, ...]]) -> str:
    names = [repr(_key(loc)) for loc in locs[:NAMED]]
    if len(locs) > NAMED:
        names.append(f"{len(locs) - NAMED} more")
    if len(names) == 1:
        return f"key {names[0]}"
    return f"keys {', '.join(names[:-1])} and {names[-1]}"


def _known(cls: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand at `loc` in a `cls`; empty where more than one class may."""
    classes = [cls]
    for part in loc:
        if isinstance(part, int):
            continue
        fields = [field for c in classes for name, field in _fields(c) if name == part]
        # A part that is no field is the tag by which one of several classes was chosen.
        classes = (
            [model for field in fields for model in _models(field.annotation)]
            if fields
            else [c for c in classes if any(part in get_args(f.annotation) for _, f in _fields(c))]
        )
    return [name for name, _ in _fields(classes[0])] if len(classes) == 1 else []


def _fields(cls: type[BaseModel]) -> Iterable[tuple[str, FieldInfo]]:
    return [(f.alias or name, f) for name, f in cls.model_fields.items() if not f.exclude]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The classes of ours that `annotation` is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
