"""The network of a checkpoint on the device that is to compute it: a card of Ascend, or the CPU.

It is a float32 network whatever precision it was trained in. The CPU, A2 and A3 compute it as such, HF32 being off; a
910A has float16 alone for convolutions and products, to which its precision mode takes them (`device.Chip`). Nobody has
run it on a card yet.
"""

from pathlib import Path

import mindspore

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.resource.spec import Accelerator
from arcface_faces.embedding.embedder import Network
from arcface_trainer.device import configure_device
from arcface_trainer.network.backbones import load_network


def load_on_device(folder: Path, accelerator: Accelerator | None) -> Network:
    """Network of a checkpoint on this process's card, which DEVICE_ID numbers, or on the CPU.

    Args:
        folder: the checkpoint.
        accelerator: None takes a card where there are any.

    Raises:
        InvalidInput: where the checkpoint is damaged or the chip is not known.
        ArcFaceError: where a card is asked for and none can be used.
    """
    take_device(accelerator or found_accelerator())
    return load_network(folder)


def found_accelerator() -> Accelerator:
    """What MindSpore finds on this machine."""
    return "ascend" if mindspore.device_context.ascend.is_available() else "cpu"


def take_device(accelerator: Accelerator) -> None:
    """Let MindSpore compute on a card or on the CPU from here on."""
    if accelerator == "ascend":
        configure_device(mindspore, accelerator, RankIdentity.from_environment().device)
    elif mindspore.get_context("device_target") != "CPU":  # it takes cards by itself where it finds them
        mindspore.set_device("CPU")
