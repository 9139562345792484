"""A model file as it describes itself: for a terminal of 80 columns or more, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from edgekit.core.description import CPU, PORTABLE, Description, Share
from edgekit.core.files import readable_bytes
from edgekit.core.tensor import Quantization, TensorSpec
from edgekit.reports.console import open_console
from edgekit.reports.words import digits, percent, plain

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = 1
TITLES = {
    "tflite": "TFLite",
    "executorch": "ExecuTorch",
    "onnx": "ONNX",
    "keras": "Keras",
    "pt2": "torch.export program",
}
ROWS = 12  # of the table of operators, unless all are asked for
SPECS = 12  # inputs or outputs, unless all are asked for
LONGEST = 300  # characters of a line of metadata, unless all are asked for
LONGEST_OPERATOR, NARROWEST_LAYERS = 44, 20  # columns


def inspection_document(description: Description, name: str) -> dict[str, Any]:
    """All that is known of the file, as plain JSON types; `name` is the file's."""
    coverage = description.coverage
    return {
        "schema": SCHEMA,
        "file": name,
        "format": description.format,
        "size_bytes": description.size_bytes,
        "signatures": [signature.to_json() for signature in description.signatures],
        "parameters": description.parameters,
        "macs": description.macs,
        "weights": description.weights,
        "zeros": description.zeros,
        "sparsity": description.sparsity,
        "quantization": description.quantization,
        "operators": [line.to_json() for line in coverage.table],
        "delegates": {
            place: {
                "operators": len(coverage.delegated(place)),
                "share_of_operators": coverage.share_of_operators(place),
                "share_of_macs": coverage.share_of_macs(place),
            }
            for place in delegates(description)
        },
        "partitions": coverage.partitions,
        "layout_changes": coverage.layout_changes,
        "nodes": [node.to_json() for node in coverage.nodes],
        "metadata": description.metadata,
    }


def delegates(description: Description) -> list[str]:
    """Where operators run but on kernels, in the order of execution."""
    places = dict.fromkeys(node.where for node in description.coverage.nodes)
    return [place for place in places if place not in (CPU, PORTABLE)]


def print_inspection(
    description: Description,
    name: str,
    *,
    every: bool = False,
    file: TextIO | None = None,
    columns: int | None = None,
) -> None:
    """Print what is in the file called `name`.

    Args:
        every: all operators, layers and lines of metadata, however many.
        file: standard output if not given; colours only on a terminal and without NO_COLOR.
        columns: width; the terminal's if not given.
    """
    from rich.text import Text

    console = open_console(file, columns)
    kind = TITLES.get(description.format, description.format)
    size = readable_bytes(description.size_bytes)
    console.print(Text.assemble((plain(name), "bold"), f"  {kind}, {size}"))
    console.print()
    console.print(_facts(description, every))
    console.print()
    _operators(console, description, every)
    metadata = dict(description.metadata)
    notes = metadata.pop("notes", [])
    blobs = metadata.pop("delegates", [])
    if blobs:
        metadata = {"blobs": _blobs(blobs)} | metadata
    if metadata:
        console.print()
        console.print(_pairs(list(_metadata(metadata, every))))
    if notes:
        console.print()
        for note in notes:
            console.print(plain(f"! {note}"))


# ------------------------------------------------------------------------------- facts


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for head, text in rows:
        table.add_row(plain(head), Text(plain(text)))
    return table


def _facts(description: Description, every: bool) -> Table:
    rows: list[tuple[str, str]] = []
    several = len(description.signatures) > 1
    for signature in description.signatures:
        if several:
            rows.append(("entry", signature.name))
        rows += _specs("inputs", signature.inputs, every)
        rows += _specs("outputs", signature.outputs, every)
    rows.append(("parameters", _parameters(description)))
    if description.weights:
        sizes = [f"{kind} {readable_bytes(size)}" for kind, size in description.weights.items()]
        rows.append(("weights", ", ".join(sizes)))
    rows.append(("multiply-adds", quantity(description.macs)))
    rows.append(("numbers", description.quantization or "not quantized"))
    rows += [("delegate", _delegate(description, place)) for place in delegates(description)]
    return _pairs(rows)


def _specs(head: str, specs: Sequence[TensorSpec], every: bool) -> Iterator[tuple[str, str]]:
    shown = specs if every else specs[:SPECS]
    if not specs:
        yield (head, "none")
    for spec in shown:
        scale = f", {_scale(spec.quantization)}" if spec.quantization is not None else ""
        yield (head, f"{spec}{scale}")
        head = ""
    if len(specs) > len(shown):
        yield ("", f"and {len(specs) - len(shown)} more")


def _scale(quantization: Quantization) -> str:
    if len(quantization.scale) > 1:
        return f"{len(quantization.scale)} scales along axis {quantization.axis}"
    return f"scale {digits(quantization.scale[0])}, zero point {quantization.zero_point[0]}"


def _parameters(description: Description) -> str:
    text = quantity(description.parameters)
    if description.zeros:
        text += f", {percent(description.sparsity, '', 1)} of them zero"
    return text


def _delegate(description: Description, place: str) -> str:
    coverage = description.coverage
    taken, total = len(coverage.delegated(place)), len(coverage.nodes)
    text = f"{place}: {taken} of {total} operators"
    if description.macs:
        text += f", {percent(coverage.share_of_macs(place), '', 1)} of the multiply-adds"
    pieces = coverage.partitions
    if len(delegates(description)) == 1 and pieces:
        text += f", in {pieces} piece{'s' if pieces > 1 else ''}"
    return text


def quantity(count: int) -> str:
    """A number for people: 300.8 million, 12 345."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{digits(count / size, 4)} {word}"
    return f"{count:,}".replace(",", " ")


# --------------------------------------------------------------------------- operators


def _operators(console: Any, description: Description, every: bool) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    lines = description.coverage.table
    shown = lines if every else lines[:ROWS]
    if not lines:
        console.print("no operators")
        return
    rows = [
        (
            plain(line.operator),
            plain(line.where),
            str(line.count),
            percent(line.macs / description.macs, "", 1) if line.macs else "–",
        )
        for line in shown
    ]
    heads = ("Operator", "Where", "Count", "MACs")
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    widths[0] = min(widths[0], LONGEST_OPERATOR)
    room = console.width - sum(widths) - 2 * len(heads)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for head, width in zip(heads, widths, strict=True):
        number = head in ("Count", "MACs")
        justify: Any = "right" if number else "left"
        table.add_column(head, justify=justify, min_width=width, overflow="fold")
    layered = room >= NARROWEST_LAYERS and any(line.layers for line in shown)
    if layered:
        table.add_column("Layers", overflow="fold")
    for line, row in zip(shown, rows, strict=True):
        cells = [Text(cell) for cell in row]
        if layered:
            cells.append(Text(plain(_layers(line, every, room)), style="dim"))
        table.add_row(*cells)
    console.print(table)
    total = sum(line.count for line in lines)
    if len(lines) > len(shown):
        hidden = len(lines) - len(shown)
        rest = sum(line.count for line in lines[ROWS:])
        kinds = "kind" if hidden == 1 else "kinds"
        console.print(f"and {hidden} more {kinds} with {rest} operators: --all shows them")
    changes = description.coverage.layout_changes
    moved = f", {changes} of them only move numbers about" if changes else ""
    console.print(f"{total} operators{moved}" if total != 1 else f"1 operator{moved}")


def _layers(line: Share, every: bool, room: int) -> str:
    """Where the operators come from; the last part of a name tells the most."""
    if every:
        return ", ".join(line.layers)
    if not line.layers:
        return ""
    more = f" and {len(line.layers) - 1} more" if len(line.layers) > 1 else ""
    first, left = line.layers[0], room - len(more)
    return (first if len(first) <= left else f"…{first[1 - left :]}") + more


# ---------------------------------------------------------------------------- metadata


def _metadata(metadata: Mapping[str, Any], every: bool) -> Iterator[tuple[str, str]]:
    for name, value in metadata.items():
        text = readable_bytes(value) if name.endswith("_bytes") else _words(value)
        name = name.removesuffix("_bytes")
        if not every and len(text) > LONGEST:
            text = f"{text[:LONGEST]}… (--all shows it whole)"
        yield name.replace("_", " "), text


def _blobs(blobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What delegates' compilers left: by delegate, how many pieces and how large."""
    sizes: dict[str, list[int]] = {}
    for blob in blobs:
        sizes.setdefault(blob["id"], []).append(blob["size_bytes"])
    return [
        f"{name} {readable_bytes(sum(each))}" + (f" in {len(each)} pieces" if each[1:] else "")
        for name, each in sizes.items()
    ]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(inner) for inner in value)
    return str(value)
