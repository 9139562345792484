"""The command line: one file a command, imported only when that command is run."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from pathlib import Path

import click

from edgekit import __version__
from edgekit.core.errors import EdgekitError, UsageError

# name: (where, the line shown in `edgekit --help`; a test keeps it equal to the command's own)
COMMANDS = {
    "convert": (
        "edgekit.cli.convert:command",
        "Convert MODEL into verified artifacts for a kind of board.",
    ),
    "run": (
        "edgekit.cli.run:command",
        "Run inputs of your own through a build on a board, and show what it answers.",
    ),
    "profile": (
        "edgekit.cli.profile:command",
        "Measure a build's artifacts on a board, or on this computer.",
    ),
    "report": ("edgekit.cli.report:command", "Show a build and its measurements."),
    "compare": (
        "edgekit.cli.compare:command",
        "Tell whether one measurement is faster than another.",
    ),
    "bundle": ("edgekit.cli.bundle:command", "Make the folder that goes into the product."),
    "verify": ("edgekit.cli.verify:command", "Check that a bundle is what its manifest says."),
    "tune": (
        "edgekit.cli.tune:command",
        "Find the recipe for MODEL that is best within limits, by trying.",
    ),
    "recipes": (
        "edgekit.cli.recipes:command",
        "List the recipes that come with edgekit, or print one.",
    ),
    "sensitivity": (
        "edgekit.cli.sensitivity:command",
        "Measure what changing each layer alone costs.",
    ),
    "inspect": ("edgekit.cli.inspect:command", "Show what is in a model file."),
    "devices": (
        "edgekit.cli.devices:command",
        "List the kinds of board; find, probe and prepare your own.",
    ),
    "boards": ("edgekit.cli.boards:command", "List the boards that you have."),
    "jobs": (
        "edgekit.cli.jobs:command",
        "List what measuring on several boards has left to do, and take it up again.",
    ),
    "doctor": (
        "edgekit.cli.doctor:command",
        "Say which converters, runtimes and compilers are here, and how to get the others.",
    ),
    "toolchain": (
        "edgekit.cli.toolchain:command",
        "Add or remove a toolchain that needs an environment of its own.",
    ),
    "clean": ("edgekit.cli.clean:command", "Free the space that cached work takes."),
    "demo": ("edgekit.cli.demo:command", "Walk the whole way once, on real handwritten digits."),
}


# Packages that not everybody needs, and the extra of edgekit that brings them.
EXTRA_OF = {
    "paramiko": "ssh",
    "adbutils": "adb",
    "zeroconf": "scan",
    "PIL": "images",
    "h5py": "keras",
    "tensorflow": "keras",
    "tf_keras": "keras",
    "ai_edge_litert": "keras",
    "ai_edge_quantizer": "keras",
    "torch": "torch",
    "litert_torch": "torch",
    "safetensors": "torch",
    "torchao": "executorch",
    "executorch": "executorch",
    "coremltools": "executorch",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "onnxslim": "onnx",
    "onnxsim": "onnx",
    "onnx2tf": "onnx",
    "ethosu": "ethos-u",
    "sklearn": "demo",
    "model_signing": "sign",
    "OpenSSL": "sign",
    "cryptography": "sign",
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use, so that `--help` costs next to nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        from edgekit.core.registry import resolve

        command: click.Command = resolve(COMMANDS[name][0])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from edgekit.core.errors import UnknownNameError

            raise UnknownNameError("command", args[0], COMMANDS, hint="edgekit --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Start here:
  edgekit demo
  edgekit doctor
  edgekit convert model.keras --for raspberry-pi-5 --calibration images.npz -o build
  edgekit run build --on local --input cat.jpg
  edgekit profile build --on ssh://pi@raspberrypi.local
""",
)
@click.version_option(__version__, prog_name="edgekit")
def edgekit() -> None:
    """Trained models onto edge boards: converted, verified, measured on the board, bundled."""


def main() -> None:
    """Run the command line; errors become one or two lines and the exit code of their class."""
    codecs.register_error("edgekit", _near)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="edgekit")
    try:
        _refuse_no_text(sys.argv[1:])
        edgekit.main(standalone_mode=False)
    except EdgekitError as exc:
        _complain(exc.message, exc.hint, f"full log: {exc.log}" if exc.log else "")
        sys.exit(exc.exit_code)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        sys.exit(0)
    except click.ClickException as exc:
        context = getattr(exc, "ctx", None)
        hint = f"{context.command_path} --help" if context else ""
        _complain(exc.format_message(), hint, "")
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; no file is left half-written", err=True)
        sys.exit(130)
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        _complain(f"{package} is not installed", f"pip install 'edgekit[{EXTRA_OF[package]}]'")
        sys.exit(2)
    except BrokenPipeError:
        # the reader (head, less) has gone; nothing left to say, and nowhere to say it
        sys.stderr.close()
        sys.exit(141)


# For a locale of Latin-1 or ASCII: a number must not lose its sign there.
_NEAR = {"−": "-", "–": "-", "±": "+-", "×": "x", "…": "...", "→": "->", "★": "*", "µ": "u"}


def _near(exc: UnicodeError) -> tuple[str, int]:
    """What is written, and from where it goes on, where an encoding lacks a character."""
    assert isinstance(exc, UnicodeEncodeError)
    first = exc.object[exc.start]
    return _NEAR.get(first, "?"), exc.start + 1


def _refuse_no_text(arguments: list[str]) -> None:
    """Raise UsageError for an argument, or a path of the current folder, that is no text.

    Names and paths go into JSON, HTML and archives, which hold nothing else.
    """
    with contextlib.suppress(OSError):  # it was removed
        arguments = [*arguments, str(Path.cwd())]
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as exc:
            shown = os.fsencode(argument).decode("utf-8", "replace")
            raise UsageError(
                f"'{shown}' is not UTF-8 text, which names and paths have to be",
                hint="rename the file or folder, or give it by a link",
            ) from exc


def _complain(message: str, *more: str) -> None:
    from edgekit.reports.words import plain

    # Names in a message come out of models: a terminal must not obey what is in them.
    said, *rest = [plain(line) for line in message.split("\n")]
    click.echo(click.style("error: ", fg="red", bold=True) + said, err=True)
    for line in rest:
        click.echo(line, err=True)
    for line in more:
        if line:
            click.echo(f"       {plain(line)}", err=True)
