"""Which of several variants a phone gets, and the Java class that chooses.

    --when 'npu: soc=SM8650|SM8750, api>=31' --when 'gpu: ram>=6GB'

The conditions of one variant hold together. Variants are tried in the order in which they are
given, and the bundle's default one last; one that the phone's runtime refuses gives way to the
next, and the class tells which and why. All have to take and give the same, so that an app sees one
class.

With ``--ai-pack`` Google Play decides by the same conditions which model a phone gets, and the
class opens what was delivered. https://developer.android.com/google/play/on-device-ai
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from edgekit.bundles.android.accessor import answer_class, bitmap_run, class_names, java, java_type
from edgekit.bundles.android.names import GETTERS, class_name, comment, literal, member_names
from edgekit.bundles.apps import all_given, class_scores
from edgekit.bundles.manifest import BundledArtifact
from edgekit.core.errors import InputError, UsageError

FORM = "'VARIANT: soc=SM8650|SM8750, api>=31, ram>=8GB', each of the three or none"
_NAME = r"[A-Za-z0-9][\w .+-]*"
_SOC = re.compile(rf"soc=((?:{_NAME}/)?{_NAME}(?:\|(?:{_NAME}/)?{_NAME})*)", re.ASCII)
_API = re.compile(r"api>=(\d{1,3})", re.ASCII)
_RAM = re.compile(r"ram>=(\d{1,3})GB", re.ASCII)
# Of the memory that a phone is sold with, what Android may use at least: the rest is the kernel's,
# the modem's and the GPU's.
_USABLE = 0.85


@dataclass(frozen=True)
class Condition:
    """For which phones a variant is; what is empty or 0 holds for all.

    Attributes:
        socs: one of which it is, as ``Build.SOC_MODEL`` has them, perhaps with
            ``Build.SOC_MANUFACTURER`` and a slash in front.
        api: Android's API level at least.
        ram_gib: memory that the phone is sold with at least.
    """

    variant: str
    socs: tuple[str, ...] = ()
    api: int = 0
    ram_gib: int = 0

    def java(self) -> str:
        """The expression that is true on a ``Phone phone`` that it is for; empty for all."""
        parts = []
        if self.socs:
            models = (soc.rpartition("/")[2] for soc in self.socs)
            parts.append(f"phone.isAny({', '.join(map(literal, models))})")
        if self.api:
            parts.append(f"phone.getApi() >= {self.api}")
        if self.ram_gib:
            parts.append(f"phone.getMemoryBytes() >= {self.ram_bytes}L")
        return " && ".join(parts)

    @property
    def ram_bytes(self) -> int:
        """What such a phone's Android tells of its memory at least."""
        return int(self.ram_gib * 2**30 * _USABLE)

    @property
    def group(self) -> str:
        """Of phones, as Play calls it; without conditions it is Play's own for all others."""
        if not self.java():
            return "other"
        return re.sub(r"[^a-z0-9]+", "_", self.variant.lower()).strip("_") or "group"

    def words(self) -> str:
        """For a README."""
        parts = [f"the SoC is {' or '.join(self.socs)}"] if self.socs else []
        parts += [f"API {self.api} or newer"] if self.api else []
        parts += [f"sold with {self.ram_gib} GB of memory or more"] if self.ram_gib else []
        return ", ".join(parts) or "every phone"


def parse_condition(text: str) -> Condition:
    """What ``--when`` says.

    Raises:
        UsageError: it does not say so.
    """
    variant, _, rest = text.partition(":")
    found: dict[str, tuple[str, ...] | int] = {}
    for part in filter(None, (each.strip() for each in rest.split(","))):
        one: dict[str, tuple[str, ...] | int]
        if match := _SOC.fullmatch(part):
            one = {"socs": tuple(each.strip() for each in match[1].split("|"))}
        elif match := _API.fullmatch(part):
            one = {"api": int(match[1])}
        elif match := _RAM.fullmatch(part):
            one = {"ram_gib": int(match[1])}
        else:
            raise UsageError(f"--when {text!r}: {part!r} is no condition", hint=f"write {FORM}")
        if set(one) & set(found):
            raise UsageError(f"--when {text!r} has two of a kind", hint=f"write {FORM}")
        found |= one
    if not variant.strip():
        raise UsageError(f"--when {text!r} names no variant", hint=f"write {FORM}")
    return Condition(variant.strip(), **found)  # type: ignore[arg-type]


def ordered(
    conditions: Sequence[Condition], artifacts: Sequence[BundledArtifact], default: str
) -> list[Condition]:
    """The conditions in the order in which variants are tried, the last one for every phone.

    Raises:
        UsageError: there is no such variant in the bundle, one stands twice, or what stands behind
            one for every phone is never reached.
        InputError: the variants do not take and give the same.
    """
    known = [artifact.variant for artifact in artifacts]
    asked = [condition.variant for condition in conditions]
    for at, variant in enumerate(asked):
        if variant not in known:
            raise UsageError(
                f"--when names {variant!r}; in the bundle are {', '.join(known)}",
                hint="name it with --variant, too; conditions follow a colon, as in "
                f"'{known[0]}: api>=31'",
            )
        if variant in asked[:at]:
            raise UsageError(f"--when names {variant!r} twice", hint="join both with | or ,")
    found = list(conditions)
    if not any(not condition.java() for condition in found):
        if default in asked:
            raise UsageError(
                f"--when has no variant for every phone: {default!r}, the bundle's default, has "
                "conditions",
                hint="add one without: --when VARIANT",
            )
        found.append(Condition(default))
    if not all(condition.java() for condition in found[:-1]):
        raise UsageError(
            "--when: behind a variant for every phone no other is reached", hint="give it last"
        )
    chosen = [next(a for a in artifacts if a.variant == each.variant) for each in found]
    first = chosen[0]
    for other in chosen[1:]:
        if _interface(other) != _interface(first):
            raise InputError(
                f"{first.variant} and {other.variant} do not take and give the same to an app, "
                "which one class for both has to",
                hint="leave out --when: each variant has a class of its own",
            )
    return found


def check_groups(conditions: Sequence[Condition], variants: Sequence[str]) -> None:
    """Refuse what Google Play cannot tell phones apart by, and what it would bring for nothing.

    Args:
        conditions: as `ordered` gives them.
        variants: all of the bundle.

    Raises:
        UsageError: names the condition.
    """
    named = {condition.variant for condition in conditions}
    if spare := [variant for variant in variants if variant not in named]:
        raise UsageError(
            f"--ai-pack: {', '.join(spare)} would be for no phone",
            hint="say for which with --when, or leave it out of --variant",
        )
    groups = [condition.group for condition in conditions]
    for at, condition in enumerate(conditions):
        if condition.api:
            raise UsageError(
                f"--ai-pack: Play does not deliver by Android's version, which {condition.variant} "
                f"asks for with api>={condition.api}",
                hint="leave it out; Play tells SoCs apart on API 31 and newer",
            )
        for soc in condition.socs:
            if "/" not in soc:
                raise UsageError(
                    f"--ai-pack: Play knows SoCs by maker and model, and {condition.variant} has "
                    f"{soc!r}",
                    hint=f"as Play Console's device catalog has it: soc=QTI/{soc}",
                )
        if condition.group in groups[:at]:
            raise UsageError(
                f"--ai-pack: two variants' groups of phones would both be {condition.group!r}",
                hint="rename one of the recipes",
            )


def device_groups(conditions: Sequence[Condition]) -> str:
    """Play's ``device_targeting_config.xml``; the first group that a phone is in counts.

    Args:
        conditions: for which `check_groups` passes.
    """
    lines = [
        '<config:device-targeting-config xmlns:config="http://schemas.android.com/apk/config">',
    ]
    for condition in conditions[:-1]:
        ram = f' ram-min-bytes="{condition.ram_bytes}"' if condition.ram_gib else ""
        chips = [
            f"            <config:system-on-chip manufacturer={quoteattr(maker)} "
            f"model={quoteattr(model)}/>"
            for maker, _, model in (soc.partition("/") for soc in condition.socs)
        ]
        lines.append(f"    <config:device-group name={quoteattr(condition.group)}>")
        if chips:
            lines += [f"        <config:device-selector{ram}>", *chips]
            lines.append("        </config:device-selector>")
        else:
            lines.append(f"        <config:device-selector{ram}/>")
        lines.append("    </config:device-group>")
    return "\n".join([*lines, "</config:device-targeting-config>"]) + "\n"


def _interface(artifact: BundledArtifact) -> object:
    """What an app's code depends on."""
    scores = class_scores(artifact)
    outputs = artifact.signature.outputs
    return (
        member_names(spec.name for spec in artifact.signature.inputs),
        all_given(artifact),
        member_names((spec.name for spec in outputs), reserved=GETTERS),
        [(java_type(spec), spec.shape, spec is scores) for spec in outputs],
    )


def chooser(
    conditions: Sequence[Condition],
    artifacts: Sequence[BundledArtifact],
    *,
    package: str,
    model: str,
    version: str,
    delivered: bool,
) -> tuple[str, str]:
    """The name of the class that chooses, and its source.

    Args:
        conditions: as `ordered` gives them.
        artifacts: all of the bundle.
        delivered: Play has chosen already: it opens what is there.
    """
    name = class_name(model)
    classes = dict(
        zip(
            (artifact.variant for artifact in artifacts),
            class_names(model, [artifact.variant for artifact in artifacts]),
            strict=True,
        )
    )
    artifact = next(each for each in artifacts if each.variant == conditions[-1].variant)
    parameters = member_names(spec.name for spec in artifact.signature.inputs)
    takes = all_given(artifact)
    outputs, scores = artifact.signature.outputs, class_scores(artifact)
    getters = member_names((spec.name for spec in outputs), reserved=GETTERS)
    declared = ", ".join(f"{java(t)} {p}" for t, p in zip(takes, parameters, strict=True))
    pictures = any(take.picture for take in takes)
    lines = [
        f"package {package};",
        "",
        "import android.content.Context;",
        *(["import android.graphics.Bitmap;"] if pictures else []),
        *(["import java.io.FileNotFoundException;"] if delivered else []),
        "import java.io.IOException;",
        "import java.util.ArrayList;",
        "import java.util.Collections;",
        "import java.util.List;",
        "",
        "/**",
        f" * The model {comment(model)} {version} in the variant "
        f"{'that Play has delivered' if delivered else 'for the phone'}:",
        " *",
        " * <ol>",
        *(f" *   <li>{comment(each.variant)}: {comment(each.words())}" for each in conditions),
        " * </ol>",
        " *",
        " * <p>One that does not open there gives way to the next; {@link #getRefusals} tells.",
        " */",
        f"public final class {name} implements AutoCloseable {{",
        f"    public static final String VERSION = {literal(version)};",
        "",
        "    private interface Each {",
        f"        Answer run({declared});",
        "",
        "        Report report();",
        "",
        "        List<String> labels();",
        "",
        "        void close();",
        "    }",
        "",
        "    private final Each each;",
        "    private final String variant;",
        "    private final List<String> refusals;",
        "",
        f"    private {name}(Each each, String variant, List<String> refusals) {{",
        "        this.each = each;",
        "        this.variant = variant;",
        "        this.refusals = Collections.unmodifiableList(refusals);",
        "    }",
        "",
        *([] if delivered else _suiting(conditions)),
        "    /** Of the app's assets. Throws IOException: it is not the file that was verified. */",
        f"    public static {name} open(Context context) throws IOException {{",
        "        return open(context, new ModelOptions());",
        "    }",
        "",
        "    /** The same, with options: threads, accelerators, warm-up, hash check. */",
        f"    public static {name} open(Context context, ModelOptions options)",
        "            throws IOException {",
        *_opening(name, conditions, delivered=delivered),
        "            try {",
        f"                return new {name}(opened(variant, context, options), variant, refusals);",
        *_missing(delivered),
        "            } catch (RuntimeException e) {",
        '                refusals.add(variant + ": " + e.getMessage());',
        "            }",
        "        }",
        '        throw new IllegalStateException("no variant opens: " + refusals);',
        "    }",
        "",
        "    private static Each opened(String variant, Context context, ModelOptions options)",
        "            throws IOException {",
        *_opened(conditions, classes),
        "    }",
        "",
        "    /** Which variant runs. */",
        "    public String getVariant() {",
        "        return variant;",
        "    }",
        "",
        '    /** "variant: reason" for each that came before it and did not open. */',
        "    public List<String> getRefusals() {",
        "        return refusals;",
        "    }",
        "",
        "    /** What was applied for it: accelerator and threads. */",
        "    public Report getReport() {",
        "        return each.report();",
        "    }",
        "",
        "    /** The classes in the order of the scores; empty where there are none. */",
        "    public List<String> getLabels() {",
        "        return each.labels();",
        "    }",
        "",
        "    /** One sample's answer. */",
        f"    public Answer run({declared}) {{",
        f"        return each.run({', '.join(parameters)});",
        "    }",
        "",
    ]
    lines += bitmap_run(parameters, takes)
    lines += [
        "    /** Frees the model; a second time does nothing. */",
        "    @Override",
        "    public void close() {",
        "        each.close();",
        "    }",
        "",
    ]
    for variant in (condition.variant for condition in conditions):
        lines += _wrapped(classes[variant], declared, parameters, getters, scores is not None)
    lines += [*answer_class(outputs, getters, scores), "}"]
    return name, "\n".join(lines) + "\n"


def _opening(name: str, conditions: Sequence[Condition], *, delivered: bool) -> list[str]:
    """From the options to the loop over variants."""
    refusals = "        List<String> refusals = new ArrayList<>();"
    if delivered:
        known = ", ".join(literal(condition.variant) for condition in conditions)
        return [refusals, f"        for (String variant : new String[] {{{known}}}) {{"]
    return [
        "        return open(context, options, Phone.of(context));",
        "    }",
        "",
        "    /** The same, as on that phone. */",
        f"    public static {name} open(Context context, ModelOptions options, Phone phone)",
        "            throws IOException {",
        refusals,
        "        for (String variant : variantsFor(phone)) {",
    ]


def _missing(delivered: bool) -> list[str]:
    if not delivered:
        return []
    return [
        "            } catch (FileNotFoundException e) {",
        '                refusals.add(variant + ": it was not delivered");',
    ]


def _suiting(conditions: Sequence[Condition]) -> list[str]:
    lines = [
        "    /** Variants for that phone, in the order in which they are tried. */",
        "    public static List<String> variantsFor(Phone phone) {",
        "        List<String> found = new ArrayList<>();",
    ]
    for condition in conditions:
        add = f"found.add({literal(condition.variant)});"
        if condition.java():
            lines += [f"        if ({condition.java()}) {{", f"            {add}", "        }"]
        else:
            lines.append(f"        {add}")
    return [*lines, "        return found;", "    }", ""]


def _opened(conditions: Sequence[Condition], classes: dict[str, str]) -> list[str]:
    lines = []
    for condition in conditions[:-1]:
        made = f"of({classes[condition.variant]}.open(context, options))"
        lines += [
            f"        if (variant.equals({literal(condition.variant)})) {{",
            f"            return {made};",
            "        }",
        ]
    return [*lines, f"        return of({classes[conditions[-1].variant]}.open(context, options));"]


def _wrapped(
    inner: str, declared: str, parameters: Sequence[str], getters: Sequence[str], labelled: bool
) -> list[str]:
    """The method that gives a variant's class the face that all have."""
    given = []
    for getter in getters:
        title = getter[0].upper() + getter[1:]
        given += [f"answer.get{title}()", f"answer.get{title}Shape()"]
    given += ["model.getLabels()"] if labelled else []
    arguments = ",\n                        ".join(given)
    return [
        f"    private static Each of(final {inner} model) {{",
        "        return new Each() {",
        "            @Override",
        f"            public Answer run({declared}) {{",
        f"                {inner}.Answer answer = model.run({', '.join(parameters)});",
        f"                return new Answer(\n                        {arguments});",
        "            }",
        "",
        "            @Override",
        "            public Report report() {",
        "                return model.getReport();",
        "            }",
        "",
        "            @Override",
        "            public List<String> labels() {",
        "                return model.getLabels();",
        "            }",
        "",
        "            @Override",
        "            public void close() {",
        "                model.close();",
        "            }",
        "        };",
        "    }",
        "",
    ]
