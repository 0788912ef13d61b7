"""What the resource allows and this release does not do yet, in one place: asked for, it is refused, never ignored."""

from arcface_api.contract.rank_table_rules import MACHINES_OF_910A, RINGS_OF_910A, SIZES_OF_RINGS
from arcface_api.names import ASCEND_NPU
from arcface_api.resource.spec import Precision, WorkersSpec


def unsupported_workers(workers: WorkersSpec, precision: Precision) -> list[str]:
    """One sentence for each field that asks for devices that this release does not know, or for what they lack.

    Where the job does not tell its machine, the rank refuses such a precision when it takes its card, and the rank
    table tells of cards that do not make up rings once the pods have them.
    """
    if workers.accelerator != "ascend":
        return []
    machine = workers.accelerator_type
    asked = {
        f"workers.resourceName: {ASCEND_NPU} (A5, 950) needs rank table 2.0, not supported yet; use 910 cards": (
            workers.resource_name == ASCEND_NPU
        ),
        f"training.precision: nodes of accelerator-type {machine} have Ascend 910A cards, which compute no "
        f"{precision}; write fp16": machine in MACHINES_OF_910A and precision != "fp16",
        f"workers.devicesPerWorker: nodes of accelerator-type {machine} join 1, 2, 4 or 8 cards; write one of these": (
            machine in RINGS_OF_910A and workers.devices_per_worker not in SIZES_OF_RINGS
        ),
    }
    return [sentence for sentence, is_asked in asked.items() if is_asked]
