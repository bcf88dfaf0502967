"""What a process that forks tells, on a real channel."""

from __future__ import annotations

import asyncio

from workers.forking import Channel
from workers.zygote_protocol import Alive, Exited, Forked, send


def test_whoever_asked_for_a_process_hears_of_it_before_its_end() -> None:
    """Also where both are told at once: a program that is missing ends at once."""
    heard: list[str] = []

    async def work() -> None:
        channel = Channel(lambda: None, lambda _: None, takes_descriptors=False)
        serial = channel.next_serial()
        ended = asyncio.Event()

        def on_exit(status: int, peak: int) -> None:
            heard.append(f"it has ended: {status}")
            ended.set()

        async def fork() -> None:
            heard.append(f"process {await channel.fork(serial, Alive(), (), on_exit)}")

        forking = asyncio.create_task(fork())
        send(channel.theirs, Forked(serial, 4711))
        send(channel.theirs, Exited(4711, 256, 0))
        await asyncio.gather(forking, ended.wait())
        channel.close()

    asyncio.run(asyncio.wait_for(work(), 60))

    assert heard == ["process 4711", "it has ended: 256"]
