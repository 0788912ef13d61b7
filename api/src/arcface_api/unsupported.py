"""What the resource allows and this release does not do yet, in one place: asked for, it is refused, never ignored."""

from arcface_api.contract.rank_table_rules import MACHINES_OF_910A, RINGS_OF_910A, SIZES_OF_RINGS
from arcface_api.names import ASCEND_NPU
from arcface_api.resource.spec import Precision, WorkersSpec


def unsupported_workers(workers: WorkersSpec, precision: Precision) -> list[str]:
    """One sentence for each field that asks for devices that this release does not know, or for what they lack.

    Where the job does not tell its machine, the rank refuses such a precision when it takes its card (see
    `doubtful_precision`), and the rank table tells of cards that do not make up rings once the pods have them.
    """
    if workers.accelerator != "ascend":
        return []
    machine = workers.accelerator_type
    asked = {
        f"workers.resourceName: {ASCEND_NPU} (A5, 950) needs rank table 2.0, not supported yet; use 910 cards": (
            workers.device_resource == ASCEND_NPU
        ),
        f"training.precision: nodes of accelerator-type {machine} have Ascend 910A cards, which compute no "
        f"{precision}; write fp16": machine in MACHINES_OF_910A and precision != "fp16",
        f"workers.devicesPerWorker: nodes of accelerator-type {machine} join 1, 2, 4 or 8 cards; write one of these": (
            machine in RINGS_OF_910A and workers.devices_per_worker not in SIZES_OF_RINGS
        ),
    }
    return [sentence for sentence, is_asked in asked.items() if is_asked]


def doubtful_precision(workers: WorkersSpec, precision: Precision) -> str | None:
    """What to know of a precision that the job's cards may not compute, for all that it says of its nodes.

    No refusal: of the chips that one resource name stands for, 910A, A2 and A3, the label accelerator-type alone tells
    which it is, and clusters need not have it (Huawei Cloud's do not).
    """
    if workers.accelerator != "ascend" or workers.accelerator_type or precision == "fp16":
        return None
    return (
        f"training.precision: {precision} ends the ranks as soon as they start where cards are Ascend 910A, which "
        "compute fp16 alone; name the machine by accelerator-type in workers.template to know before"
    )
