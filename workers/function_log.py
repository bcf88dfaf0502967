"""What one environment prints, and the lines Lambda adds: START, END, REPORT."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from math import ceil
from typing import Final

from broker.invocation import FunctionFault, Invocation, Outcome
from storage.configuration import FunctionConfiguration
from workers import faults

#: Bytes kept of what one invocation prints; the rest is counted.
KEPT: Final = 256 * 1024
#: Characters of one line; AWS cuts at 256 kB, which no reader of logs wants.
LINE: Final = 16_000
_READ: Final = 65_536
#: Reads in one go, before others get their turn on the loop.
_READS: Final = 16


class LogPipe:
    """Reads an environment's standard output and error as they come, in bounded memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._read, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self._kept = bytearray()
        self._dropped = 0
        loop.add_reader(self._read, self._on_readable)

    def close_write_end(self) -> None:
        """Close our copy, once the environment has its own."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def note(self, line: str) -> None:
        """Add a line of the platform's own, also where the function has not ended its line."""
        self._on_readable()
        begin = "\n" if self._kept and not self._kept.endswith(b"\n") else ""
        self._kept += f"{begin}{line}\n".encode()

    def take(self) -> tuple[str, ...]:
        """Everything printed since the last take, as lines."""
        self._on_readable()
        if not self._kept:
            return ()
        text = self._kept.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        lines = [line[:LINE] for line in text.rstrip("\n").split("\n")]
        if self._dropped:
            lines.append(f"[{self._dropped:,} more bytes were printed, and not kept]")
        self._kept.clear()
        self._dropped = 0
        return tuple(lines)

    def close(self) -> None:
        """Stop reading; closing twice is safe."""
        self.close_write_end()
        if self._read >= 0:
            self._loop.remove_reader(self._read)
            os.close(self._read)
            self._read = -1

    def _on_readable(self) -> None:
        for _ in range(_READS):
            if self._read < 0:
                return
            try:
                data = os.read(self._read, _READ)
            except BlockingIOError:
                return
            if not data:
                self._loop.remove_reader(self._read)
                return
            room = max(0, KEPT - len(self._kept))  # notes may go beyond it
            self._kept += data[:room]
            self._dropped += len(data[room:])


def start_line(invocation: Invocation, configuration: FunctionConfiguration) -> str:
    """`START RequestId: … Version: …`."""
    return f"START RequestId: {invocation.id} Version: {configuration.version}"


def init_line(took: float, state: str, fault: FunctionFault) -> str:
    """`INIT_REPORT` of an initialisation that failed after so many milliseconds.

    Lambda writes none for one that went well, but for snapshots.
    """
    phase = "init" if state == "starting" else "invoke"
    report = [f"INIT_REPORT Init Duration: {took:.2f} ms", f"Phase: {phase}"]
    if faults.is_timeout(fault):
        report.append("Status: timeout")
    else:
        report += ["Status: error", f"Error Type: {fault.type}"]
    return "\t".join(report)


def timeout_line(invocation: Invocation, timeout: float) -> str:
    """What Lambda logs when it has killed an environment at its deadline."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    return f"{now}Z {invocation.id} Task timed out after {timeout:.2f} seconds"


def closing_lines(outcome: Outcome, configuration: FunctionConfiguration) -> tuple[str, str]:
    """`END` and `REPORT`, tab separated as Lambda writes them."""
    id = outcome.invocation.id
    report = [
        f"REPORT RequestId: {id}",
        f"Duration: {outcome.duration_ms:.2f} ms",
        f"Billed Duration: {ceil(outcome.duration_ms)} ms",
        f"Memory Size: {configuration.memory} MB",
        f"Max Memory Used: {outcome.max_memory_mb} MB",
    ]
    if outcome.init_ms is not None:
        report.append(f"Init Duration: {outcome.init_ms:.2f} ms")
    if outcome.fault is not None and faults.is_timeout(outcome.fault):
        report.append("Status: timeout")
    elif outcome.fault is not None:
        report += ["Status: error", f"Error Type: {outcome.fault.type}"]
    return f"END RequestId: {id}", "\t".join(report) + "\t"
