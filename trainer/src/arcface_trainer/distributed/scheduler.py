"""MindSpore's rendezvous process: `python -m arcface_trainer.distributed.scheduler`, started by the pod of rank 0."""

import mindspore

from arcface_trainer import standby


def _main() -> None:
    """Serve until all ranks have left."""
    mindspore.set_device("CPU")
    mindspore.communication.init()


if __name__ == "__main__":
    standby.arguments()
    _main()
