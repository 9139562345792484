"""The base of every noun: a frozen, validated value with a stable fingerprint and a JSON form."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

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
            raise UsageError(explain(exc, where or cls.__name__)) from exc

    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON form, in hex."""
        return json_digest(self.to_json())


def json_digest(data: Any) -> str:
    """SHA-256 in hex over `data` as JSON with sorted keys and no spaces."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def explain(exc: ValidationError, where: str) -> str:
    """The first problem of a pydantic error in one line, and how many more there are."""
    errors = exc.errors(include_url=False)
    first = errors[0]
    key = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        problem = f"unknown key {key!r}"
    elif first["type"] == "missing":
        problem = f"key {key!r} is missing"
    else:
        problem = f"{key} = {first.get('input')!r}: {first['msg']}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {problem}{more}"
