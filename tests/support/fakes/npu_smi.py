"""`npu-smi info`: its table as the tool's sources print it, and a command of that name that prints it.

`print_total_info_with_HBM` of npu-smi for 910A, A2 (a chip a card) and A3 (two chips a card, "Chip  Phy-ID").
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

BAR = "+===========================+===============+====================================================+"
HEAD = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 25.2.1                   Version: 25.2.1                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|"""
A2_BUSES = ["C1", "01", "C2", "02", "81", "41", "82", "42"]
"""Bus numbers of the eight cards of an A2 server: their order is not that of the cards."""


def table(
    buses: Sequence[str], processes: Mapping[int, Sequence[int]] | None = None, chips: int = 1, first_card: int = 0
) -> str:
    """The whole answer for chips at these buses; processes by the number of the chip, from 0."""
    lines = [HEAD, f"| Chip  {'Phy-ID' if chips > 1 else '':20}| Bus-Id        | AICore(%)   HBM-Usage(MB)  |", BAR]
    cards = [buses[start : start + chips] for start in range(0, len(buses), chips)]
    for card, own in enumerate(cards, first_card):
        for chip, bus in enumerate(own):
            numbers = f"{chip:<6}{card * chips + chip:<20}" if chips > 1 else f"{chip:<26}"
            name = "Ascend910" if chips > 1 else "910B3"
            power = "-" if chip else "89.6"
            lines.append(f"| {card:<6}{name:<20}| OK            | {power:<12}43                0    / 0             |")
            lines.append(f"| {numbers}| 0000:{bus}:00.0  | 0           0    / 0          3161 / 65536         |")
        lines.append(BAR)
    lines.append("| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |")
    for card, own in enumerate(cards):
        busy = {chip: (processes or {}).get(card * chips + chip, ()) for chip in range(len(own))}
        found = [(chip, process) for chip, theirs in busy.items() for process in theirs]
        lines += [
            f"| {first_card + card:<8}{chip:<18}| {process:<14}|                          | 132                     |"
            for chip, process in found
        ]
        if not found:
            lines.append(f"| No running processes found in NPU {first_card + card:<61}|")
        lines.append(BAR)
    return "\n".join(lines) + "\n"


def install(folder: Path, answer: str, code: int = 0) -> str:
    """Put the command into a folder; returns a PATH that finds it first."""
    folder.mkdir(exist_ok=True)
    (folder / "answer").write_text(answer)
    command = folder / "npu-smi"
    command.write_text(f'#!/bin/sh\n[ "$*" = info ] || exit 9\n/bin/cat "{folder}/answer"\nexit {code}\n')
    command.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
