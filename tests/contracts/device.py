"""What every device keeps to. A test class inherits `DeviceContract` and gives the fixtures."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from edgekit.core.errors import DeviceError, InputError, OutputError, UsageError
from edgekit.core.protocols import Device
from tests.waiting import until

NASTY = (
    "two words",
    "a; rm -rf ~.tflite",
    'it\'s "quoted"',
    "$(touch pwned) `id` $HOME",
    "new\nline",
    "trailing newline\n",
    "モデル-äöü-модель",
    "-rf",
    "back\\slash\ttab",
    "*?[x]!#&|<>",
)


def make_file(path: Path, data: bytes = b"some content") -> tuple[Path, str]:
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has waited for yet does not run.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it has ended just now
        return False


def ends(pid: int) -> bool:
    """Whether the process is gone within a minute."""
    return until(lambda: not is_running(pid))


class DeviceContract:
    """Fixtures to give: `device` (open), `store` (the store's folder on this machine)."""

    def test_it_says_where_its_store_is_or_leaves_it_to_the_board(
        self, device: Device, tmp_path: Path, store: Path
    ) -> None:
        remote = device.push(*make_file(tmp_path / "sent"))
        assert remote.startswith(f"{device.store_folder or store}/")

    def test_output_and_exit_code(self, device: Device) -> None:
        result = device.run(["sh", "-c", "echo out; echo err >&2; exit 5"])
        assert (result.exit_code, result.stdout, result.stderr) == (5, "out\n", "err\n")

    def test_a_signal_is_a_negative_exit_code(self, device: Device) -> None:
        assert device.run(["sh", "-c", "kill -SEGV $$"]).exit_code == -signal.SIGSEGV
        # and an exit code that a shell would have used for a signal stays what it is
        assert device.run(["sh", "-c", "exit 139"]).exit_code == 139

    def test_a_missing_program_is_127(self, device: Device) -> None:
        result = device.run(["no such program"])
        assert result.exit_code == 127
        assert "no such program" in result.stderr

    def test_words_arrive_as_they_are(self, device: Device) -> None:
        words = [*NASTY, "", "end"]
        result = device.run(["printf", r"%s\0", *words])
        assert result.stdout.split("\0") == [*words, ""]

    def test_stdin_arrives_whole(self, device: Device) -> None:
        data = bytes(range(256)) * 1000
        result = device.run(["sha256sum"], stdin=data)
        assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest()

    def test_without_stdin_there_is_an_end_of_file(self, device: Device) -> None:
        assert device.run(["cat"], timeout_seconds=60).stdout == ""

    def test_stdin_that_is_not_read(self, device: Device) -> None:
        assert device.run(["true"], stdin=b"x" * 100_000).exit_code == 0

    def test_bytes_that_are_no_text(self, device: Device) -> None:
        assert device.run(["printf", r"\377\200ok"]).stdout == "\ufffd\ufffdok"

    @pytest.mark.parametrize("argv", [[], ["echo", 5], ["echo", "a\0b"], "echo"])
    def test_what_is_no_list_of_words_is_refused(self, device: Device, argv: list[str]) -> None:
        with pytest.raises(UsageError):
            device.run(argv)

    @pytest.mark.slow
    def test_a_slow_command_is_stopped_there(self, device: Device, tmp_path: Path) -> None:
        note = tmp_path / "pid"
        script = f"sleep 1000 & echo $$ $! >'{note}'; wait"
        for seconds in (2, 10, 60):  # a computer that is busy may not begin within the first
            with pytest.raises(DeviceError, match=rf"longer than {seconds} s and was stopped"):
                device.run(["sh", "-c", script], timeout_seconds=seconds)
            if note.exists() and note.read_text().strip():
                break
        shell, child = map(int, note.read_text().split())
        assert ends(shell)
        assert ends(child)  # what it started, too

    @pytest.mark.slow
    def test_endless_output_is_stopped_there(
        self, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgekit.devices.limits.Output.__init__.__defaults__", (10**6,))
        note = tmp_path / "pid"
        with pytest.raises(DeviceError, match=r"printed more than 1.0 MB and was stopped"):
            device.run(["sh", "-c", f"echo $$ >'{note}'; exec yes"], timeout_seconds=60)
        assert ends(int(note.read_text()))

    def test_ctrl_c_stops_it_there(self, device: Device, tmp_path: Path) -> None:
        note = tmp_path / "pid"

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        def press() -> None:
            if until(lambda: note.exists() and note.read_text().endswith("\n")):
                os.kill(os.getpid(), signal.SIGUSR1)

        before = signal.signal(signal.SIGUSR1, interrupt)
        try:
            threading.Thread(target=press, daemon=True).start()
            with pytest.raises(KeyboardInterrupt):
                device.run(["sh", "-c", f"echo $$ >'{note}'; sleep 1000"], timeout_seconds=60)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert ends(int(note.read_text()))

    def test_it_works_after_a_command_was_stopped(self, device: Device) -> None:
        with pytest.raises(DeviceError):
            device.run(["sleep", "1000"], timeout_seconds=0.5)
        assert device.run(["echo", "still here"]).stdout == "still here\n"

    def test_push_and_pull(self, device: Device, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        file, digest = make_file(tmp_path / "model.tflite", data)
        remote = device.push(file, digest)
        assert device.run(["cat", remote]).exit_code == 0
        assert device.pushed_bytes == len(data)
        device.pull(remote, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data

    def test_an_empty_file(self, device: Device, tmp_path: Path) -> None:
        file, digest = make_file(tmp_path / "empty", b"")
        device.pull(device.push(file, digest), tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b""

    def test_what_is_there_is_not_sent_again(self, device: Device, tmp_path: Path) -> None:
        file, digest = make_file(tmp_path / "model.tflite", os.urandom(100_000))
        first = device.push(file, digest)
        sent = device.pushed_bytes
        other, _ = make_file(tmp_path / "same content", file.read_bytes())
        assert device.push(other, digest) == first
        assert device.pushed_bytes == sent

    @pytest.mark.slow
    def test_many_files_at_once(self, device: Device, tmp_path: Path) -> None:
        files = [
            make_file(tmp_path / f"file {number}", os.urandom(number))
            for number in range(0, 4000, 370)
        ]
        device.push(*files[3])
        remotes = device.push_all(files)
        assert device.pushed_bytes == sum(file.stat().st_size for file, _ in files)
        for (file, digest), remote in zip(files, remotes, strict=True):
            assert remote.endswith(digest)
            assert Path(remote).read_bytes() == file.read_bytes()
        assert device.push_all(files) == remotes
        assert device.pushed_bytes == sum(file.stat().st_size for file, _ in files)
        assert device.push_all([]) == []

    def test_a_wrong_digest_among_many_is_named_and_leaves_nothing(
        self, device: Device, tmp_path: Path, store: Path
    ) -> None:
        one, digest = make_file(tmp_path / "one", b"one")
        other, _ = make_file(tmp_path / "other", b"other")
        with pytest.raises(InputError, match=r"other.* was changed|other.*it was changed"):
            device.push_all([(one, digest), (other, "0" * 64)])
        names = {path.name for path in store.rglob("*") if path.is_file()}
        assert names <= {digest}

    def test_a_file_that_is_not_there_among_many(self, device: Device, tmp_path: Path) -> None:
        file, digest = make_file(tmp_path / "one", b"one")
        with pytest.raises(InputError, match="missing"):
            device.push_all([(file, digest), (tmp_path / "missing", "0" * 64)])

    @pytest.mark.parametrize("name", [n for n in NASTY if "/" not in n])
    def test_any_name_works(self, device: Device, tmp_path: Path, name: str) -> None:
        file, digest = make_file(tmp_path / name, name.encode())
        remote = device.push(file, digest)
        back = tmp_path / f"{name} back"
        device.pull(remote, back)
        assert back.read_bytes() == name.encode()
        assert not (tmp_path / "pwned").exists()

    def test_a_damaged_object_is_sent_again(
        self, device: Device, tmp_path: Path, store: Path
    ) -> None:
        file, digest = make_file(tmp_path / "model.tflite", b"x" * 5000)
        remote = Path(device.push(file, digest))
        remote.write_bytes(b"")  # what a power cut may leave
        assert device.push(file, digest) == str(remote)
        assert remote.read_bytes() == b"x" * 5000

    def test_a_wrong_digest_leaves_nothing(
        self, device: Device, tmp_path: Path, store: Path
    ) -> None:
        file, _ = make_file(tmp_path / "model.tflite")
        with pytest.raises(InputError, match="was changed"):
            device.push(file, "0" * 64)
        assert [path for path in store.rglob("*") if path.is_file()] == []

    def test_a_file_that_is_not_there(self, device: Device, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot read"):
            device.push(tmp_path / "missing", "0" * 64)

    def test_pulling_what_is_not_there(self, device: Device, tmp_path: Path) -> None:
        with pytest.raises(DeviceError, match=r"(?i)no such file"):
            device.pull(str(tmp_path / "missing"), tmp_path / "back")
        assert list(tmp_path.glob("*back*")) == []
        assert list(tmp_path.glob(".pull*")) == []

    def test_pulling_to_where_nothing_can_be_written(self, device: Device, tmp_path: Path) -> None:
        file, digest = make_file(tmp_path / "model.tflite")
        with pytest.raises(OutputError):
            device.pull(device.push(file, digest), tmp_path / "no folder" / "back")

    def test_scratch_paths_are_new_and_writable(self, device: Device, tmp_path: Path) -> None:
        one, other = device.scratch(), device.scratch()
        assert one != other
        assert device.run(["cp", "/dev/null", one]).exit_code == 0
        device.remove(one)
        device.remove(one)  # gone already: no error
        assert not Path(one).exists()

    @pytest.mark.parametrize("where", ["{other}", "{store}", "{store}/objects/..", "{store}/x"])
    def test_only_what_is_in_the_store_is_removed(
        self, device: Device, tmp_path: Path, store: Path, where: str
    ) -> None:
        device.scratch()
        other, _ = make_file(tmp_path / "mine")
        with pytest.raises(UsageError, match="not a file in the store"):
            device.remove(where.format(other=other, store=store))
        assert other.exists()

    def test_trim_removes_what_was_used_longest_ago(
        self, device: Device, tmp_path: Path, store: Path
    ) -> None:
        for age, name in ((300, "old"), (200, "middle"), (100, "new")):
            path = store / "objects" / hashlib.sha256(name.encode()).hexdigest()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 1000)
            os.utime(path, (time.time() - age, time.time() - age))
        assert device.usage().size_bytes == 3000
        removed = device.trim(2500)
        assert (removed.entries, removed.size_bytes) == (1, 1000)
        assert not (store / "objects" / hashlib.sha256(b"old").hexdigest()).exists()

    def test_trim_keeps_what_was_handed_out(self, device: Device, tmp_path: Path) -> None:
        file, digest = make_file(tmp_path / "model.tflite")
        remote = device.push(file, digest)
        assert device.trim(0).entries == 0
        assert Path(remote).exists()

    def test_push_keeps_the_store_under_its_limit(
        self, device: Device, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(device, "_limit_bytes", 5000)
        old = store / "objects" / ("f" * 64)
        old.parent.mkdir(parents=True, exist_ok=True)
        old.write_bytes(b"x" * 4000)
        os.utime(old, (1, 1))
        file, digest = make_file(tmp_path / "model.tflite", b"y" * 2000)
        device.push(file, digest)
        assert not old.exists()

    def test_using_an_object_makes_it_young(
        self, device: Device, tmp_path: Path, store: Path
    ) -> None:
        file, digest = make_file(tmp_path / "model.tflite")
        remote = Path(device.push(file, digest))
        os.utime(remote, (1, 1))
        device.push(file, digest)
        assert remote.stat().st_mtime > 1


class RemoteDeviceContract(DeviceContract):
    """Of a device behind a link. To give besides: what first waits for a command's output."""

    waiting: str  # dotted name of the function

    def test_ctrl_c_before_it_has_said_anything(
        self, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        note = tmp_path / "pid"

        def interrupt(*_: object) -> None:
            monkeypatch.undo()
            assert until(lambda: note.exists() and note.read_text().endswith("\n"))
            raise KeyboardInterrupt

        device.run(["true"])
        monkeypatch.setattr(self.waiting, interrupt)
        with pytest.raises(KeyboardInterrupt):
            device.run(["sh", "-c", f"echo $$ >'{note}'; sleep 1000"], timeout_seconds=60)
        assert ends(int(note.read_text()))
