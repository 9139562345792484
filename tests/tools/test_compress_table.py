"""Where the benchmark's table goes."""

from __future__ import annotations

from pathlib import Path

from tools.compress.bench import put

TABLE = "| data | model |\n| --- | --- |\n| glyphs | keras/lenet |"


def test_what_is_around_the_table_stays(tmp_path: Path) -> None:
    path = tmp_path / "TABLE.md"
    old = TABLE.replace("lenet", "older")
    path.write_text(f"# Head\n\n{old}\n| digits | more |\n\n## Another\n\n| a | b |\n", "utf-8")
    put(path, TABLE)
    assert path.read_text("utf-8") == f"# Head\n\n{TABLE}\n\n## Another\n\n| a | b |\n"
    put(path, TABLE)
    assert path.read_text("utf-8").count(TABLE) == 1


def test_a_file_without_one_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "TABLE.md"
    put(path, TABLE)
    assert path.read_text("utf-8") == TABLE + "\n"
