"""A rank of test_training_pods.py: adds its number to those of all others and prints the sum."""

import os
import subprocess
import sys

import mindspore
from mindspore import Tensor, ops


def main() -> None:
    if os.environ["MS_NODE_ID"] == "0":
        scheduler = [sys.executable, "-m", "arcface_trainer.scheduler"]
        subprocess.Popen(scheduler, env=os.environ | {"MS_ROLE": "MS_SCHED"})
    mindspore.set_device("CPU")
    mindspore.communication.init()
    own = Tensor([10.0 ** int(os.environ["MS_NODE_ID"])], mindspore.float32)
    gathered = ops.AllGather()(own).asnumpy().tolist()
    print(ops.AllReduce()(own).asnumpy().tolist(), gathered, flush=True)  # noqa: T201 - the pod's log is the result
    # Not through MindSpore's teardown, in which ranks that leave at different moments may kill each other.
    os._exit(0)


main()
