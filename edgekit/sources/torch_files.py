"""What can be told about a PyTorch file without torch: what it is, whether it is whole, and whether
loading it would run code that came with it.

`torch.save` writes a zip with a pickle in it (a bare stream of pickles before torch 1.6),
TorchScript's files have their code beside that pickle, and `torch.export.save` writes a zip of
JSON and raw weights: https://docs.pytorch.org/docs/stable/export/pt2_archive.html. What of the last
can run code is in `torch_program`.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from edgekit.core.errors import ModelError
from edgekit.core.files import is_safe_relative, readable_bytes
from edgekit.sources.files import require_file
from edgekit.sources.torch_program import code_in_program, listed_payloads

# pt2: a program of torch.export. module: any pickle that names classes, as of a whole nn.Module.
# weights: a pickle of tensors and plain values only. function: not a file at all.
Kind = Literal["pt2", "module", "torchscript", "weights", "safetensors"]

JSON_LIMIT_BYTES = 256 * 2**20
PICKLE_LIMIT_BYTES = 256 * 2**20  # without the tensors, which lie beside it
# Weights hardly compress. An archive that unfolds to far more than its size is meant to fill a
# disk, not to be a model.
UNFOLDED_LIMIT = 100
UNFOLDED_ALWAYS_FINE_BYTES = 100 * 2**20
SAVE_AGAIN = "save it again with torch.export.save(torch.export.export(model, inputs), 'model.pt2')"
COPY_AGAIN = "copy it again and compare the sizes, or save the model again"

# What a pickle of tensors is made of. torch's own list for weights_only=True is longer; it decides
# when such a file is read, this one only what the file is taken for.
_PLAIN = re.compile(
    r"collections\.OrderedDict|"
    r"torch\._utils\._rebuild_(?:tensor|tensor_v2|parameter|parameter_with_state)|"
    r"torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter|"
    r"torch\.(?:storage\.)?(?:\w*Storage|Size|device|Tensor)|"
    r"torch\.(?:serialization\._get_layout|contiguous_format)|"
    r"torch\.(?:bool|u?int\d+|float\d+|bfloat16|complex\d+|half|double|float|long)"
)
END_BYTES = 22  # of a zip archive's last record, without a comment
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # what torch.save wrote first before torch 1.6


@dataclass(frozen=True)
class Finding:
    """What a file is, and what in it is code: names that it imports, calls or evaluates."""

    kind: Kind
    code: tuple[str, ...] = ()


def examine(path: Path) -> Finding:
    """Look into a model or weights file.

    Raises:
        ModelError: missing, not one of PyTorch's, truncated, or a hostile archive.
    """
    try:
        require_file(path)
        with open(path, "rb") as file:
            head = file.read(16)
        if head[:4] == b"PK\x03\x04":
            return _examine_zip(path)
        if _starts_pickle(head):
            return _examine_stream(path)
        if len(head) > 8 and head[8:9] == b"{":
            _check_safetensors(path)
            return Finding("safetensors")
    except OSError as exc:
        raise ModelError(f"cannot read {str(path)!r}: {exc.strerror or exc}") from exc
    size = path.stat().st_size
    what = "is empty" if size == 0 else "is neither a zip archive nor a pickle"
    raise ModelError(f"{str(path)!r} is not a PyTorch file: it {what}", hint=SAVE_AGAIN)


# --------------------------------------------------------------------------------- archives


def _examine_zip(path: Path) -> Finding:
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            _refuse_wrapped(path, list(members.values()))
            if "serialized_exported_program.json" in members:
                raise ModelError(
                    f"{str(path)!r} is a program in the format before torch 2.8",
                    hint="load it with the torch that it was saved with, and export it again",
                )
            members = _below_root(path, members)
            if "archive_format" in members or any(n.startswith("models/") for n in members):
                return Finding("pt2", tuple(_code_in_pt2(path, archive, members)))
            if "data.pkl" in members:
                if any(n.startswith("code/") for n in members) or "constants.pkl" in members:
                    return Finding("torchscript", ("a TorchScript program",))
                return _pickled(_names_in(_read(path, archive, members["data.pkl"])))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as exc:
        # RuntimeError: an encrypted member; NotImplementedError: a compression of its own
        raise _damaged(path, "zip archive", exc) from exc
    except (ValueError, RecursionError) as exc:
        raise _damaged(path, "PyTorch file", exc) from exc
    raise ModelError(f"{str(path)!r} is a zip archive, but not one of PyTorch's", hint=SAVE_AGAIN)


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """All members by name, after the archive was found to be an honest one."""
    found: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for member in archive.infolist():
        name = member.filename
        if not is_safe_relative(name.rstrip("/")):
            raise ModelError(f"{str(path)!r}: the archive names a path outside itself: {name!r}")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ModelError(f"{str(path)!r}: the archive holds a link: {name!r}")
        if name.casefold() in seen:  # torch finds members whatever their case
            raise ModelError(f"{str(path)!r}: the archive holds {name!r} twice")
        seen.add(name.casefold())
        found[name] = member
    unfolded = sum(member.file_size for member in found.values())
    size = path.stat().st_size
    if unfolded > UNFOLDED_ALWAYS_FINE_BYTES and unfolded > UNFOLDED_LIMIT * size:
        raise ModelError(
            f"{str(path)!r}: the archive of {readable_bytes(size)} would unfold to "
            f"{readable_bytes(unfolded)}"
        )
    return found


def _refuse_wrapped(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """An archive has to be the whole file.

    The end of a truncated file may look like a smaller archive (programs hold one), and what two
    readers make of a file with something before or after its archive need not be the same.
    """
    with open(path, "rb") as file:
        file.seek(-END_BYTES, io.SEEK_END)
        last = file.read(4)
    if last != b"PK\x05\x06" or min((m.header_offset for m in members), default=0) != 0:
        raise ModelError(
            f"{str(path)!r} is a damaged or truncated zip archive: it does not fill the file",
            hint=COPY_AGAIN,
        )


def _below_root(path: Path, members: dict[str, zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Members by their name without the one folder that torch puts everything into."""
    roots = {name.partition("/")[0] for name in members}
    if len(roots) != 1 or any("/" not in name for name in members):
        raise ModelError(
            f"{str(path)!r} is a zip archive, but not one of PyTorch's: its members are not in "
            "one folder",
            hint=SAVE_AGAIN,
        )
    return {name.partition("/")[2]: member for name, member in members.items()}


def _read(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int = PICKLE_LIMIT_BYTES
) -> bytes:
    if member.file_size > limit:
        raise ModelError(
            f"{str(path)!r}: its {member.filename} is larger than {readable_bytes(limit)}"
        )
    return archive.read(member)


# ---------------------------------------------------------------------------------- program

MODEL = "models/model.json"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
INPUTS = "data/sample_inputs/model.pt"


def _code_in_pt2(
    path: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]
) -> Iterator[str]:
    """What loading a program would run that came with it.

    torch.export.load reads every program in the archive, unpickles example inputs and such weights
    and constants as have no raw form, opens compiled libraries, and evaluates expressions.
    """
    libraries = [name for name in members if name.startswith("data/aotinductor/")]
    programs = sorted(name for name in members if name.startswith("models/"))
    if programs != [MODEL]:
        if not programs and libraries:
            raise ModelError(
                f"{str(path)!r} holds a library compiled for a computer, not a program",
                hint=SAVE_AGAIN,
            )
        given = ", ".join(programs) or "none"
        raise ModelError(
            f"{str(path)!r} has to hold one program, called {MODEL}; it has: {given}",
            hint=SAVE_AGAIN,
        )
    yield from (f"compiled library {name}" for name in libraries[:1])
    for name in sorted(members):
        folder, _, file = name.rpartition("/")
        if folder == "data/constants" and file.startswith(("custom_obj", "opaque_obj")):
            yield f"object {name}"
        if folder in ("data/weights", "data/constants", "data/sample_inputs") and (
            name == INPUTS or name.endswith(".pt")
        ):
            content = _read(path, archive, members[name], JSON_LIMIT_BYTES)
            yield from _code_in_bytes(content)
    for name in CONFIGS:
        if name in members:
            config = _json(path, archive, members[name])
            where = name.rpartition("/")[0]
            for problem, payload in listed_payloads(config):
                if problem:
                    yield problem
                elif f"{where}/{payload}" not in members:
                    raise ModelError(
                        f"{str(path)!r} is not whole: {where}/{payload} is missing",
                        hint=COPY_AGAIN,
                    )
    yield from code_in_program(_json(path, archive, members[MODEL]))


def _json(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    content = _read(path, archive, member, JSON_LIMIT_BYTES)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"{str(path)!r}: its {member.filename} is not JSON") from exc


# ---------------------------------------------------------------------------------- pickles


def _code_in_bytes(content: bytes) -> Iterator[str]:
    """What is not plain in something that torch.save wrote into an archive."""
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            pickles = [m for m in archive.infolist() if m.filename.endswith("data.pkl")]
            if len(pickles) != 1 or pickles[0].file_size > PICKLE_LIMIT_BYTES:
                yield "a pickle that is not torch's"
                return
            if any("/code/" in name for name in archive.namelist()):
                yield "a TorchScript program"
            names = _names_in(archive.read(pickles[0]))
    elif not content:
        return
    else:
        names = _names_in_stream(io.BytesIO(content))
    yield from sorted(name for name in names if not _PLAIN.fullmatch(name))


def _pickled(names: set[str]) -> Finding:
    code = sorted(name for name in names if not _PLAIN.fullmatch(name))
    return Finding("module", tuple(code)) if code else Finding("weights")


def _starts_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _examine_stream(path: Path) -> Finding:
    """A file of torch before 1.6; what comes after its pickles is raw data."""
    with open(path, "rb") as file:
        content = file.read(PICKLE_LIMIT_BYTES)
    try:
        return _pickled(_names_in_stream(io.BytesIO(content)))
    except (ValueError, RecursionError) as exc:
        raise _damaged(path, "file of pickles", exc) from exc


def _names_in_stream(stream: IO[bytes]) -> set[str]:
    """Of the five pickles: magic number, protocol, system, the object itself, its keys.

    Raises:
        ValueError: damaged, or not torch's.
    """
    if not any(argument == _TORCH_MAGIC for _, argument, _ in pickletools.genops(stream)):
        raise ValueError("it was not written by torch.save")
    names: set[str] = set()
    for _ in range(4):
        names |= _names_in(stream)
    return names


_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")


def _names_in(pickle: bytes | IO[bytes]) -> set[str]:
    """``module.name`` of everything that a pickle imports, found without executing it.

    A pickle made to mislead can have its names computed. What is taken for plain here is therefore
    still read with ``weights_only``.

    Raises:
        ValueError: it is damaged.
    """
    names: set[str] = set()
    texts: list[str] = []  # those pushed last; STACK_GLOBAL takes two
    memo: dict[str, str | None] = {}
    last: str | None = None
    for opcode, argument, _ in pickletools.genops(pickle):
        kind = opcode.name
        if kind in (*_PUTS, "MEMOIZE"):
            memo[str(len(memo)) if kind == "MEMOIZE" else str(argument)] = last
            continue
        last = str(argument) if kind in _TEXTS else None
        if kind in _GETS:
            last = memo.get(str(argument))
        if last is not None:
            texts = [*texts[-1:], last]
        elif kind in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", "."))
        elif kind == "STACK_GLOBAL":
            names.add(".".join(texts) if len(texts) > 1 else "a name that is computed")
        elif kind.startswith("EXT"):
            names.add(f"extension {argument}")
    return names


# ------------------------------------------------------------------------------ safetensors


def _check_safetensors(path: Path) -> None:
    """The header is whole: 8 bytes of size, JSON, then the tensors' bytes without gaps.

    Format: https://github.com/huggingface/safetensors#format.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, JSON_LIMIT_BYTES):
            raise ModelError(
                f"{str(path)!r} is damaged or truncated: its header is longer than the file",
                hint=COPY_AGAIN,
            )
        content = file.read(length)
    try:
        header = json.loads(content)
        ends = [value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"]
        whole = 8 + length + max(ends, default=0) == size
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError) as exc:
        raise ModelError(f"{str(path)!r} is not a safetensors file: its header is not one") from exc
    if not whole:
        raise ModelError(
            f"{str(path)!r} is damaged or truncated: its tensors end elsewhere than the file",
            hint=COPY_AGAIN,
        )


def _damaged(path: Path, what: str, exc: BaseException) -> ModelError:
    said = str(exc).strip().splitlines()
    return ModelError(
        f"{str(path)!r} is a damaged or truncated {what}: {said[0][:200] if said else exc!r}",
        hint=COPY_AGAIN,
    )
