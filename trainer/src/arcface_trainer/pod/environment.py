"""Environment of the processes that run MindSpore: its settings are read when it is imported."""

from collections.abc import Mapping

from arcface_api.contract.run_config import RunConfig
from arcface_trainer.network.mindspore_settings import compute_environment
from arcface_trainer.pod.identity import PodIdentity

NODE_TIMEOUT_SECONDS = "60"
"""After this time without a heartbeat a rank counts as dead and MindSpore ends its peers."""
START_TIMEOUT_SECONDS = "1800"


def rank_environment(
    environment: Mapping[str, str], config: RunConfig, identity: PodIdentity, scheduler_address: str, local_rank: int
) -> dict[str, str]:
    """Environment of one rank of this pod."""
    rank = str(identity.first_rank + local_rank)
    settings = {
        "MS_NODE_TIMEOUT": NODE_TIMEOUT_SECONDS,
        "MS_TOPO_TIMEOUT": START_TIMEOUT_SECONDS,
        **compute_environment(environment, config.ranks.accelerator),
    }
    own = {"MS_NODE_ID": rank, "MS_WORKER_NUM": str(config.ranks.world_size), "MS_ROLE": "MS_WORKER"}
    if config.ranks.accelerator == "ascend":
        own |= {"DEVICE_ID": str(local_rank), "RANK_ID": rank, "RANK_SIZE": str(config.ranks.world_size)}
    own |= {"MS_SCHED_HOST": scheduler_address, "MS_SCHED_PORT": str(identity.scheduler_port)}
    return settings | own
