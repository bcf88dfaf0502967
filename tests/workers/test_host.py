"""What a host can give: what the settings say, or most of what the machine or container has."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from workers import host
from workers.settings import WorkerSettings

MACHINE = psutil.virtual_memory().total
MB = 1024 * 1024


@pytest.mark.parametrize(
    ("told", "bytes_there"),
    [
        ([], MACHINE),
        (["max\n"], MACHINE),
        ([f"{512 * MB}\n"], 512 * MB),
        (["max\n", f"{512 * MB}\n"], 512 * MB),
        ([f"{2**63 - 4096}\n"], MACHINE),  # version 1 without a limit
    ],
)
def test_a_containers_limit_counts_as_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str], bytes_there: int
) -> None:
    """By either version of control groups; without a limit it is the machine's."""
    files = [tmp_path / str(number) for number in range(2)]
    for file, text in zip(files, told, strict=False):
        file.write_text(text)
    monkeypatch.setattr(host, "_LIMITS", files)

    assert host.host(WorkerSettings(memory=None)).memory == int(bytes_there * 0.8) // MB


def test_the_setting_comes_first() -> None:
    """Whatever the machine has."""
    assert host.host(WorkerSettings(memory=4096)).memory == 4096
