"""Java names from names that anybody may have given, and texts that are safe in Java sources."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgekit.bundles import apps
from edgekit.bundles.apps import MAX_NAME
from edgekit.core.errors import UsageError

# Java's and Kotlin's words: what is none of them needs no quotes in either language.
KEYWORDS = frozenset(
    word
    for line in (
        "abstract as assert boolean break byte case catch char class const continue default do",
        "double else enum extends false final finally float for fun goto if implements import in",
        "instanceof int interface is long native new null object package private protected public",
        "return short static strictfp super switch synchronized this throw throws transient true",
        "try typealias typeof val var void volatile when while",
    )
    for word in line.split()
)
# Classes that stand beside the accessor or are used in it by their short names.
CLASSES = frozenset(
    word
    for line in (
        "Accelerator Answer ArrayList Arrays AutoCloseable Bitmap Bitmaps Boolean Byte Collections",
        "Context Double Each Engine ExecuTorchEngine Float IOException IllegalStateException",
        "Integer Label List",
        "LiteRtEngine Long ModelFile ModelOptions Object Override Phone Picture Postprocessing",
        "Preprocessing Report RuntimeException Short String System Tensor TensorSpec",
    )
    for word in line.split()
)
# Of `Answer`: getClass is every object's, the others are its own.
GETTERS = frozenset({"class", "best", "top"})
PACKAGE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


def class_name(*parts: str) -> str:
    """``DigitsInt8Io`` for ``digits`` and ``int8-io``."""
    return apps.class_name(*parts, taken=CLASSES)


def member_names(names: Iterable[str], *, reserved: frozenset[str] = frozenset()) -> list[str]:
    """A Java name for each, all different: ``servingDefaultX0`` for ``serving_default_x:0``."""
    return apps.member_names(names, keywords=KEYWORDS, reserved=reserved)


def package_name(wanted: str, model: str) -> str:
    """`wanted`, or ``edgekit.<model>``.

    Raises:
        UsageError: it cannot be the name of a Java package or an Android namespace.
    """
    if not wanted:
        last = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")[:MAX_NAME] or "model"
        last = last if last[0].isalpha() else f"model_{last}"
        return f"edgekit.{last}_" if last in KEYWORDS else f"edgekit.{last}"
    words = wanted.split(".")
    if not PACKAGE.fullmatch(wanted) or len(wanted) > 100 or KEYWORDS & set(words):
        raise UsageError(
            f"--package {wanted!r} is not the name of a Java package with two parts at least",
            hint="like com.example.digits: small letters, digits and _, no word of Java",
        )
    return wanted


def literal(text: str) -> str:
    """`text` as a Java string literal in ASCII."""
    made = []
    for char in text:
        if char in '"\\':
            made.append(f"\\{char}")
        elif char in "\n\r":  # as \u000a it would end the line: javac reads those before all else
            made.append("\\n" if char == "\n" else "\\r")
        elif " " <= char <= "~":
            made.append(char)
        else:  # each half of a character beyond 16 bits by itself, as Java has them
            units = char.encode("utf-16-be")
            made += [f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
    return f'"{"".join(made)}"'


def comment(text: str) -> str:
    """`text` on one line of a Javadoc comment: no markup, no end of the comment, no escapes."""
    known = text.translate({ord("×"): "x", ord("−"): "-", ord("…"): "..."})
    plain = "".join(char if " " <= char <= "~" else "?" for char in " ".join(known.split()))
    plain = plain.replace("\\", "/").replace("*/", "* /").replace("@", "(at)")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
