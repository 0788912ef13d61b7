"""The Ascend cards that a machine or a container has: how they are counted, and what `npu-smi info` tells of them.

MindSpore and CANN count cards by their logical numbers, from 0 for whatever a machine or container shows;
ASCEND_RT_VISIBLE_DEVICES leaves some of them to a process, which counts those from 0 again (CANN, environment
variables). `npu-smi info` lists all of them in the order of their numbers, whatever that variable says: two rows a
chip, then one a process (the tool's sources, `print_card_total_info_with_HBM` and `print_proc_total_info_with_HBM`;
910A, A2 and A3 alike). Every user of the driver's group may ask it. A container is told of its own processes at most.
"""

import re
import subprocess
from dataclasses import dataclass

from arcface_api.errors import InvalidInput

VISIBLE_CARDS = "ASCEND_RT_VISIBLE_DEVICES"
PATIENCE_SECONDS = 30.0
"""With sixteen chips the tool takes seconds."""

_NUMBER = "[0-9]{1,10}"
_NAME_ROW = re.compile(rf"\|\s*({_NUMBER})\s+\S*[A-Za-z]\S*\s*\|[^|]*\|[^|]*\|")
_BUS_ROW = re.compile(rf"\|\s*({_NUMBER})(?:\s+{_NUMBER})?\s*\|\s*(\S+)\s*\|[^|]*\|")
_PROCESS_ROW = re.compile(rf"\|\s*({_NUMBER})\s+({_NUMBER})\s*\|\s*({_NUMBER})\s*\|[^|]*\|[^|]*\|")


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip: what MindSpore calls a device, and most call a card."""

    bus: str
    """Its address on the PCI bus, such as 0000:C1:00.0."""
    processes: tuple[int, ...]
    """Processes that compute on it."""


def ask_npu_smi() -> list[Chip]:
    """The chips by their logical numbers; none where the tool is not there or gives no answer."""
    try:
        answer = subprocess.run(
            ["npu-smi", "info"], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
        )
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError):
        return []
    return parse_chips(answer.stdout)


def parse_chips(text: str) -> list[Chip]:
    """The chips in what `npu-smi info` prints, in its order."""
    buses: dict[tuple[str, str], str] = {}
    processes: dict[tuple[str, str], list[int]] = {}
    card = None
    for line in map(str.strip, text.splitlines()):
        if found := _NAME_ROW.fullmatch(line):
            card = found[1]
        elif card is not None and (found := _BUS_ROW.fullmatch(line)):
            buses[card, found[1]] = found[2]
            card = None
        elif found := _PROCESS_ROW.fullmatch(line):
            processes.setdefault((found[1], found[2]), []).append(int(found[3]))
    return [Chip(bus, tuple(processes.get(chip, ()))) for chip, bus in buses.items()]


def parse_visible(text: str) -> list[int]:
    """The logical numbers in ASCEND_RT_VISIBLE_DEVICES.

    Raises:
        InvalidInput: where CANN would read something else: it stops at the first character that it does not expect, and
            takes numbers in ascending order only.
    """
    if re.fullmatch(rf"{_NUMBER}(,{_NUMBER})*", text):
        numbers = [int(number) for number in text.split(",")]
        if numbers == sorted(set(numbers)):
            return numbers
    raise InvalidInput(f"{VISIBLE_CARDS}={text!r}: CANN takes ascending numbers with commas alone, such as 0,1,4,5")
