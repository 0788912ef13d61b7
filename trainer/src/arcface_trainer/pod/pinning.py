"""Each rank of a pod gets its share of the cores that the pod may use, near its card where that can be known.

Not left to `mindspore.runtime.set_cpu_affinity`: that of 2.10 asks cgroup v1 for the cores (`_get_available_cpus`) and
does nothing where there is v2, needs lspci and lscpu in the image, and counts on all cards being the job's. What is
near is found as there: the card's bus address by npu-smi, the node at that address by the kernel.
"""

import os
from pathlib import Path

from arcface_api import ascend_cards, cpu_affinity
from arcface_api.contract.run_config import RunRanks
from arcface_trainer.device import device_target


def core_shares(ranks: RunRanks, sysfs: Path = Path("/sys")) -> list[set[int]]:
    """Cores of each rank of this pod."""
    near = [frozenset[int]()] * ranks.per_pod
    if ranks.per_pod > 1 and device_target(ranks.accelerator) == "Ascend":
        near = _near_cards(ranks.per_pod, sysfs)
    return cpu_affinity.core_shares_near(os.sched_getaffinity(0), near)


def _near_cards(count: int, sysfs: Path) -> list[frozenset[int]]:
    """Cores near the cards that this pod's processes count from 0; none where the machine does not say."""
    visible = os.environ.get(ascend_cards.VISIBLE_CARDS)
    numbers = ascend_cards.parse_visible(visible) if visible else list(range(count))
    chips = dict(enumerate(ascend_cards.ask_npu_smi()))
    buses = [chips[number].bus if number in chips else "" for number in numbers[:count]]
    return [_cores_near(bus, sysfs) for bus in buses] + [frozenset()] * (count - len(buses))


def _cores_near(bus: str, sysfs: Path) -> frozenset[int]:
    """Cores of the NUMA node that a device is attached to; none where it has no node (-1) or nothing is known."""
    try:
        node = (sysfs / "bus/pci/devices" / bus.lower() / "numa_node").read_text().strip()
        return _parse_cores((sysfs / f"devices/system/node/node{node}/cpulist").read_text().strip())
    except (OSError, ValueError):
        return frozenset()


def _parse_cores(text: str) -> frozenset[int]:
    """Cores in the kernel's notation, such as 0-23,96-119."""
    ends = [part.partition("-") for part in text.split(",") if part]
    return frozenset(core for first, _, last in ends for core in range(int(first), int(last or first) + 1))
