"""Swift names from names that anybody may have given, and texts that are safe in Swift sources."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.bundles import apps

# Swift's words, those that are reserved in some places only too: what is none needs no backquotes.
KEYWORDS = frozenset(
    word
    for line in (
        "Any Self Type Protocol actor any as associatedtype associativity async await break case",
        "catch class consume continue convenience copy default defer deinit didSet do dynamic each",
        "else enum extension fallthrough false fileprivate final for func get guard if import in",
        "indirect infix init inout internal is isolated lazy left let macro mutating nil none",
        "nonisolated nonmutating open operator optional override package postfix precedence",
        "precedencegroup prefix private protocol public repeat required rethrows return right self",
        "set some static struct subscript super switch throw throws true try typealias unowned var",
        "weak where while willSet yield",
    )
    for word in line.split()
)
# Types that stand beside the class or are used in it by their short names.
CLASSES = frozenset(
    word
    for line in (
        "Accelerator Answer Any Array Bool Bundle CGImage CVPixelBuffer Data Double Engine Error",
        "ExecuTorch ExecuTorchEngine Float Int Int8 Int16 Int32 Int64 Label LiteRT LiteRtEngine",
        "ModelError ModelFile ModelOptions NSLock Picture Postprocessing Preprocessing Protocol",
        "Report Self String Swift Tensor TensorSpec Type UInt8 Vector VectorTests",
    )
    for word in line.split()
)
# Members of `Answer` that are its own.
MEMBERS = frozenset({"best", "top", "hash", "description"})


def class_name(*parts: str) -> str:
    """``DigitsInt8Io`` for ``digits`` and ``int8-io``."""
    return apps.class_name(*parts, taken=CLASSES)


def module_name(model: str) -> str:
    """The package, and what an app imports: ``DigitsModels`` for ``digits``.

    Never a class of its own: Swift takes ``Digits.Tensor`` for a member of the class ``Digits``
    where the module has that name, too.
    """
    return f"{class_name(model)}Models"


def member_names(names: Iterable[str], *, reserved: frozenset[str] = frozenset()) -> list[str]:
    """A Swift name for each, all different: ``servingDefaultX0`` for ``serving_default_x:0``."""
    return apps.member_names(names, keywords=KEYWORDS, reserved=reserved)


def literal(text: str) -> str:
    """`text` as a Swift string literal in ASCII."""
    made = []
    for char in text:
        if char in '"\\':  # a backslash would begin an interpolation, too
            made.append(f"\\{char}")
        elif " " <= char <= "~":
            made.append(char)
        elif 0xD800 <= ord(char) <= 0xDFFF:  # no scalar value of Unicode: Swift has none such
            made.append("\\u{fffd}")
        else:
            made.append(f"\\u{{{ord(char):x}}}")
    return f'"{"".join(made)}"'


def comment(text: str) -> str:
    """`text` on one line of a comment that ends with the line, in ASCII."""
    known = text.translate({ord("×"): "x", ord("−"): "-", ord("…"): "..."})
    return "".join(char if " " <= char <= "~" else "?" for char in " ".join(known.split()))
