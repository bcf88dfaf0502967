"""The demo from beginning to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from demo import contact_sheet, photos, uploads
from demo.contact_sheet import Pair
from demo.crops import Size
from demo.errors import DemoError, WrongCrop
from demo.photos import Source
from demo.results import Outcome, Result, find_faults
from demo.screen import Screen
from demo.system import System, running
from demo.uploads import Upload
from demo.waves import Wave
from demo.words import counted, milliseconds
from storage.errors import BucketwheelError

#: Where commands run, so that paths read as they do in the documentation.
ROOT: Final = Path(__file__).resolve().parent.parent
PHOTOS: Final = ROOT / ".tools" / "photos"
OUTPUT: Final = ROOT / "demo-output"
EXAMPLE: Final = "examples/photo_crop/app.py"

#: What the example makes of a photograph when nothing else is asked of it.
ASKED: Final = Size(800, 800)


def main() -> int:
    """Run the demo; returns the exit status."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    os.chdir(ROOT)
    screen = Screen()
    try:
        run(screen)
    except KeyboardInterrupt:
        screen.tell_fault("interrupted; nothing is left running")
        return 130
    except (DemoError, BucketwheelError) as failure:
        screen.tell_fault("\n".join([str(failure), *getattr(failure, "__notes__", ())]))
        return 1
    return 0


def run(screen: Screen) -> None:
    """Crop the photographs, and look at the result.

    Raises:
        DemoError: not every crop is there and right, or there is nothing to show.
    """
    album = photos.fetch(PHOTOS)
    screen.tell_album(album)
    prepared = uploads.prepare(album)
    with running(screen.tell_command, OUTPUT / "logs") as system:
        system.run("deploy", EXAMPLE)
        results = _upload(system, prepared, screen)
    screen.tell()
    screen.show(results)
    _check(results)
    sheet = _draw_sheet(results, album.source)
    screen.tell("[bold green]Every crop is there and right.[/]")
    screen.tell_path("Contact sheet", sheet)


def _upload(system: System, prepared: Sequence[Upload], screen: Screen) -> list[Result]:
    screen.tell(f"\n{counted(len(prepared), 'file')} to photos/in/, one of them broken:")
    with screen.progress(len(prepared)) as advance:
        together = Wave(system, "together").together(prepared, advance)
    _tell_together(list(together.values()), screen)
    alone = {each.file: Wave(system, "alone").alone(each) for each in prepared if not each.broken}
    _tell_alone(list(alone.values()), screen)
    return [Result(each, together[each.file], alone.get(each.file)) for each in prepared]


def _tell_together(outcomes: Sequence[Outcome], screen: Screen) -> None:
    cold = sum(each.report.cold for each in outcomes)
    seconds = max(each.seconds for each in outcomes)
    screen.tell(f"  together  all through after {seconds:.1f} s; {counted(cold, 'cold start')}")


def _tell_alone(outcomes: Sequence[Outcome], screen: Screen) -> None:
    cold = sum(each.report.cold for each in outcomes)
    typical = milliseconds(1_000 * median(each.seconds for each in outcomes))
    starts = counted(cold, "cold start")
    screen.tell(f"  alone     each from upload to crop in {typical} (median); {starts}\n")


def _check(results: Sequence[Result]) -> None:
    """Look at every crop.

    Raises:
        WrongCrop: some are missing or wrong; the message has a line for each.
    """
    faults = [fault for each in results for fault in find_faults(each, ASKED)]
    if faults:
        raise WrongCrop("\n".join(["not every crop is there and right:", *faults]))


def _draw_sheet(results: Sequence[Result], source: Source) -> Path:
    pairs = [
        Pair(each.upload, each.together.crop) for each in results if each.together.crop is not None
    ]
    path = OUTPUT / "contact-sheet.png"
    path.parent.mkdir(exist_ok=True)
    contact_sheet.draw(pairs, ASKED, source).save(path)
    return path
