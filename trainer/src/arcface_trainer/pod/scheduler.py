"""MindSpore's rendezvous process: `python -m arcface_trainer.pod.scheduler`, started by the pod of rank 0."""

import mindspore


def main() -> None:
    """Serve until all ranks have left."""
    mindspore.set_device("CPU")
    mindspore.communication.init()


if __name__ == "__main__":
    main()
