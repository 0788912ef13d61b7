"""A rank of test_training_pods.py: adds its number to those of all others and prints the sum."""

import os
import socket
import subprocess
import sys
import time

import mindspore
from mindspore import Tensor, ops

LEAVING_PORT = 9009


def main() -> None:
    if os.environ["MS_NODE_ID"] == "0":
        scheduler = [sys.executable, "-m", "arcface_trainer.distributed.scheduler"]
        subprocess.Popen(scheduler, env=os.environ | {"MS_ROLE": "MS_SCHED"})
    mindspore.set_device("CPU")
    mindspore.communication.init()
    own = Tensor([10.0 ** int(os.environ["MS_NODE_ID"])], mindspore.float32)
    gathered = ops.AllGather()(own).asnumpy().tolist()
    print(ops.AllReduce()(own).asnumpy().tolist(), gathered, flush=True)  # noqa: T201 - the pod's log is the result
    leave_together()


def leave_together() -> None:
    """Leave when no rank needs another one any more: a last message dies with the process that leaves first.

    Not through MindSpore's teardown, in which ranks that leave at different moments may kill each other.
    """
    address = (os.environ["MS_SCHED_HOST"], LEAVING_PORT)
    if os.environ["MS_NODE_ID"] == "0":
        with socket.create_server(address) as server:
            peers = [server.accept()[0] for _ in range(int(os.environ["MS_WORKER_NUM"]) - 1)]
        for peer in peers:
            peer.close()
    else:
        connect(address).recv(1)
    os._exit(0)


def connect(address: tuple[str, int]) -> socket.socket:
    """A connection to rank 0, which may not be that far yet."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


main()
