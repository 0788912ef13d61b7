"""Environment of the processes that run MindSpore: its settings are read when it is imported."""

from collections.abc import Mapping

from arcface_api.contract import pod_environment as pods
from arcface_api.contract.run_config import RunConfig
from arcface_trainer.network.mindspore_settings import compute_environment

NODE_TIMEOUT_SECONDS = "60"
"""After this time without a heartbeat a rank counts as dead and MindSpore ends its peers."""
START_TIMEOUT_SECONDS = "1800"


def rank_environment(
    environment: Mapping[str, str],
    config: RunConfig,
    identity: pods.RankIdentity,
    scheduler_address: str,
    local_rank: int,
) -> dict[str, str]:
    """Environment of one rank of this pod."""
    rank = str(identity.rank + local_rank)
    settings = {
        "MS_NODE_TIMEOUT": NODE_TIMEOUT_SECONDS,
        "MS_TOPO_TIMEOUT": START_TIMEOUT_SECONDS,
        **compute_environment(environment, config.ranks.accelerator),
    }
    own = {pods.NODE_ID: rank, pods.WORKER_NUM: str(config.ranks.world_size), pods.ROLE: pods.WORKER}
    if config.ranks.accelerator == "ascend":
        own |= {pods.DEVICE_ID: str(local_rank), pods.RANK_ID: rank, pods.RANK_SIZE: str(config.ranks.world_size)}
    own |= {pods.SCHEDULER_HOST: scheduler_address, pods.SCHEDULER_PORT: str(identity.scheduler_port)}
    return settings | own
