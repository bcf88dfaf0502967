"""Compilation: done once for all environments, and nobody's undoing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from workers.compilation import compile_modules


def _compiled(module: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(module)))


def test_modules_are_compiled_where_functions_cannot_write(tmp_path: Path) -> None:
    """An environment need not compile at each cold start what it cannot keep."""
    inner = tmp_path / "package"
    inner.mkdir()
    for module in (tmp_path / "app.py", inner / "__init__.py"):
        module.write_text("x = 1\n")
    compile_modules(tmp_path)

    assert _compiled(tmp_path / "app.py").is_file()
    assert _compiled(inner / "__init__.py").stat().st_mode & 0o044 == 0o044


def test_nothing_of_a_module_is_run(tmp_path: Path) -> None:
    """Users' code runs in environments only."""
    (tmp_path / "app.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    compile_modules(tmp_path)

    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_compiled_hinders_nothing(tmp_path: Path) -> None:
    """A module with a mistake is told of when it is imported."""
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "deep.py").write_text("x = " + "(" * 100_000 + ")" * 100_000)
    (tmp_path / "good.py").write_text("x = 1\n")
    compile_modules(tmp_path)

    assert not _compiled(tmp_path / "broken.py").exists()


def test_a_folder_without_python_is_left_alone(tmp_path: Path) -> None:
    """Functions in other languages pay nothing."""
    (tmp_path / "bootstrap").write_bytes(b"\x7fELF")
    compile_modules(tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["bootstrap"]
