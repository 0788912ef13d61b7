"""The Ascend cards of this machine that a run takes, and which pod gets which: the part of the device plugin.

What is looked at needs no root: the device files, the driver's library, and who computes on a card by npu-smi or, where
that does not answer, by the open files of those processes that this user may look into.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from arcface_api.ascend_cards import VISIBLE_CARDS, ask_npu_smi, parse_visible
from arcface_api.errors import ArcFaceError, InvalidInput
from arcface_operator.manifests.metadata import Manifest

DRIVER_FILES = ("davinci_manager", "devmm_svm", "hisi_hdc")
"""What every process that uses a card opens in /dev beside the card's own davinci<number>."""
INSTALLATION = "etc/ascend_install.info"
"""Where the driver's installer notes its folder."""
DRIVER_LIBRARY = "libascend_hal.so"
NO_CARD = "workers.accelerator: ascend needs Ascend cards on this machine, and"
DRIVER_REMEDY = "install the driver (in a container: let it in), or set accelerator cpu"


@dataclass(frozen=True, kw_only=True)
class PodCards:
    """Cards that a run has taken, for one gang of pods after the other."""

    resource_name: str = ""
    """What pods ask for cards by."""
    numbers: tuple[int, ...] = ()
    """Logical numbers, ascending."""

    def variables(self, places: Iterable[int], pods: Iterable[Manifest]) -> list[dict[str, str]]:
        """For each pod, at its place in a gang, what leaves its cards, and no others, to its processes."""
        own = []
        for place, pod in zip(places, pods, strict=True):
            count = asked_cards(pod, self.resource_name)
            cards = self.numbers[place * count : (place + 1) * count]
            own.append({VISIBLE_CARDS: ",".join(map(str, cards))} if cards else {})
        return own


def asked_cards(pod: Manifest, resource_name: str) -> int:
    """Cards that a pod asks for."""
    limits = pod["spec"]["containers"][0].get("resources", {}).get("limits") or {}
    return int(limits.get(resource_name, 0))


def check_cards(count: int, root: Path, environment: Mapping[str, str] = os.environ) -> None:
    """InvalidInput where this machine has no driver or never had that many cards for this user."""
    _check_driver(root, environment)
    shown = _shown_cards(root, environment)
    if len(shown) < count:
        visible = environment.get(VISIBLE_CARDS)
        why = f"{VISIBLE_CARDS}={visible} leaves it" if visible else "this machine has"
        raise InvalidInput(
            f"workers: the job takes {count} cards at once, {why} {len(shown)}; lower replicas or devicesPerWorker"
        )


def take_cards(count: int, root: Path, environment: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """Logical numbers of that many cards that nobody computes on, the lowest first.

    Raises:
        ArcFaceError: where too few are free, which passes.
    """
    shown = _shown_cards(root, environment)
    reasons = _unavailable(shown, root)
    free = [number for number in shown if number not in reasons]
    if len(free) < count:
        told = ", ".join(reasons.values())
        raise ArcFaceError(
            f"workers: the job takes {count} cards at once, {len(free)} are free: {told}; "
            "end what uses them or run again later"
        )
    return tuple(free[:count])


def _check_driver(root: Path, environment: Mapping[str, str]) -> None:
    """InvalidInput, naming the first part of the driver that is missing."""
    for name in DRIVER_FILES:
        if not (root / "dev" / name).exists():
            raise InvalidInput(f"{NO_CARD} /dev/{name} is missing; {DRIVER_REMEDY}")
    folder = _driver_folder(root)
    places = [*(root / folder).rglob(DRIVER_LIBRARY), *_in_library_path(environment)]
    if not places:
        raise InvalidInput(f"{NO_CARD} {DRIVER_LIBRARY} is not in /{folder}, nor in LD_LIBRARY_PATH; {DRIVER_REMEDY}")


def _driver_folder(root: Path) -> str:
    """Folder of the driver's libraries, relative to the root."""
    found = None
    if (root / INSTALLATION).is_file():
        found = re.search(r"^Driver_Install_Path_Param=/?(.+)$", (root / INSTALLATION).read_text(), re.MULTILINE)
    return f"{found[1].strip() if found else 'usr/local/Ascend'}/driver/lib64"


def _in_library_path(environment: Mapping[str, str]) -> Iterator[Path]:
    """The driver's library in a folder that the loader is told of."""
    folders = [folder for folder in environment.get("LD_LIBRARY_PATH", "").split(":") if folder]
    return (Path(folder, DRIVER_LIBRARY) for folder in folders if Path(folder, DRIVER_LIBRARY).is_file())


def _shown_cards(root: Path, environment: Mapping[str, str]) -> dict[int, Path]:
    """Device files by the logical numbers of their cards, of those that the shell leaves to this run."""
    files = [path for path in (root / "dev").glob("davinci*") if path.name.removeprefix("davinci").isdecimal()]
    cards = dict(enumerate(sorted(files, key=lambda path: int(path.name.removeprefix("davinci")))))
    visible = environment.get(VISIBLE_CARDS)
    if not visible:
        return cards
    if unknown := [number for number in parse_visible(visible) if number not in cards]:
        raise InvalidInput(f"{VISIBLE_CARDS}={visible}: there is no card {unknown[0]}, of {len(cards)} on this machine")
    return {number: cards[number] for number in parse_visible(visible)}


def _unavailable(cards: Mapping[int, Path], root: Path) -> dict[int, str]:
    """Why cards cannot be had, by their numbers."""
    users = {number: chip.processes for number, chip in enumerate(ask_npu_smi())} or _holders(cards, root)
    reasons = {}
    for number, file in cards.items():
        if not os.access(file, os.R_OK | os.W_OK):
            reasons[number] = f"card {number} (/dev/{file.name}) may not be opened: join the group HwHiAiUser"
        elif processes := users.get(number):
            reasons[number] = f"card {number} (/dev/{file.name}) is in use by process {processes[0]}"
    return reasons


def _holders(cards: Mapping[int, Path], root: Path) -> dict[int, tuple[int, ...]]:
    """Processes that have a card's device file open."""
    names = {f"/dev/{file.name}": number for number, file in cards.items()}
    found: dict[int, tuple[int, ...]] = {}
    for process in (root / "proc").glob("[0-9]*"):
        for number in {names[name] for name in _open_files(process) if name in names}:
            found[number] = (*found.get(number, ()), int(process.name))
    return found


def _open_files(process: Path) -> list[str]:
    """What a process has open; nothing of one that has ended or is somebody else's."""
    try:
        return [str(link.readlink()) for link in (process / "fd").iterdir()]
    except OSError:
        return []
