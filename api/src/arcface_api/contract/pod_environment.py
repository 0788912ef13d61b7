"""What the operator and its pods agree on beside the run configuration: labels, mounts, ports, variables.

The variables of a rank are those of MindSpore's cluster and of HCCL; `RankIdentity` is their one writer and their one
reader. MindSpore joins a cluster as soon as MS_ROLE or MS_SCHED_HOST is set, then waits for a scheduler, and takes IP
addresses only. Hence a rank that is alone has neither, and MS_SCHED_HOST is set by the pod's launcher, which learns the
address from the rank table or from the file that shows SCHEDULER_ANNOTATION, never from a name.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from arcface_api.errors import InvalidInput

# Labels and annotations of pods.
NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
INSTANCE_LABEL = "app.kubernetes.io/instance"
MANAGER_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "arcface-operator"
JOB_LABEL = "arcface.io/job"
RANK_INDEX_LABEL = "arcface.io/rank-index"
ATTEMPT_LABEL = "arcface.io/attempt"
SPARE = "spare"
"""Value of the label on pods that only wait for room: they are of no attempt."""
CHIP_FAMILY_LABEL = "ring-controller.atlas"
"""Label of MindX on rank pods and rank table."""
RANK_INDEX_ANNOTATION = "hccl/rankIndex"
"""Annotation of MindX with the pod's place among the job's pods."""
RANK_TABLE_ANNOTATION = "arcface.io/rank-table"
"""Hash of the rank table that the pod's kubelet has been told to show."""
SCHEDULER_ANNOTATION = "arcface.io/scheduler-address"
"""Address that the ranks meet at; the operator adds it once pod 0 has one, and no name has to be resolved."""
LAUNCH_ANNOTATION = "arcface.io/launch"
"""The operator's call for a launch of the attempt's ranks (`launcher_words.LaunchCall`): all launchers heed it."""
EVALUATE_AGAIN_ANNOTATION = "arcface.io/evaluate-again"
"""Of the job itself: another value of it has a trained job evaluated again."""

# Ports.
METRICS_PORT = 9400
"""/metrics of a pod's first rank, and /progress of rank 0; the pod's next ranks take the next ports."""
LAUNCHER_PORT = 9399
"""Where pod 0's launcher takes the words of the others and tells the operator of them; launchers show states there."""
RENDEZVOUS_PORT = 8118
"""MindSpore's scheduler, which the ranks meet at, in pod 0."""
RENDEZVOUS_PORTS = 4
"""From there on, which the launches of an attempt take turns with.

A rank that loses MindSpore's scheduler looks for it for 20 s, and nobody ends one whose pod is cut off. In that of the
next launch it would register in the place of another rank, which is then refused ("Repeated registration", MindSpore
2.10, `ComputeGraphNode::ReRegister`).
"""

# Folders and files that pods see.
DATA_MOUNT = "/data"
CHECKPOINT_MOUNT = "/checkpoints"
EVALUATION_MOUNT = "/evaluation"
INIT_FROM_MOUNT = "/init-from"
SHARED_MEMORY_MOUNT = "/dev/shm"  # noqa: S108 - a mount of the pod's own
TERMINATION_LOG = "/dev/termination-log"
RUN_CONFIG_MOUNT = "/etc/arcface"
RUN_CONFIG_FILE = "run.json"
RUN_CONFIG = f"{RUN_CONFIG_MOUNT}/{RUN_CONFIG_FILE}"
RENDEZVOUS_MOUNT = "/etc/arcface-rendezvous"
SCHEDULER_ADDRESS_FILE = "scheduler-address"
"""Shows SCHEDULER_ANNOTATION."""
LAUNCH_FILE_NAME = "launch"
"""Shows LAUNCH_ANNOTATION."""
RANK_TABLE_MOUNT = "/user/serverid/devindex/config"
RANK_TABLE_FILE = "hccl.json"

# Variables.
POD_NAME = "POD_NAME"
POD_IP = "POD_IP"
ROLE = "MS_ROLE"
WORKER = "MS_WORKER"
SCHEDULER = "MS_SCHED"
NODE_ID = "MS_NODE_ID"
WORKER_NUM = "MS_WORKER_NUM"
SCHEDULER_HOST = "MS_SCHED_HOST"
SCHEDULER_PORT = "MS_SCHED_PORT"
SCHEDULER_FILE = "ARCFACE_SCHEDULER_FILE"
RANK_TABLE = "RANK_TABLE_FILE"
RANK_ID = "RANK_ID"
RANK_SIZE = "RANK_SIZE"
DEVICE_ID = "DEVICE_ID"
ATTEMPT = "ARCFACE_ATTEMPT"
JOB_UID = "ARCFACE_JOB_UID"
LAUNCH = "ARCFACE_LAUNCH"
LAUNCH_FILE = "ARCFACE_LAUNCH_FILE"
STATES = "ARCFACE_STATES"
"""Folder in the pod's shared memory for states that outlive its ranks; the launcher makes it."""
MEETING = frozenset({ROLE, SCHEDULER_HOST, SCHEDULER_PORT, RANK_TABLE, RANK_ID, RANK_SIZE})
"""What makes MindSpore look for other ranks."""
JOIN_TIMEOUT = "MS_TOPO_TIMEOUT"
"""MindSpore's patience for ranks that have not joined, in seconds."""
HCCL_CONNECT_TIMEOUT = "HCCL_CONNECT_TIMEOUT"
HCCL_EXEC_TIMEOUT = "HCCL_EXEC_TIMEOUT"
HCCL_ADDRESS = "HCCL_IF_IP"
HCCL_SUPER_POD = "HCCL_LOGIC_SUPERPOD_ID"

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankIdentity:
    """Which rank a process is, or the first one of a pod, and where the ranks meet; alone unless said otherwise."""

    rank: int = 0
    world_size: int = 1
    scheduler_port: int = RENDEZVOUS_PORT
    address: str = LOOPBACK
    """Where metrics are served: the pod's own address, which the kubelet tells, or loopback outside of pods."""
    scheduler_file: Path | None = None
    """File in which the operator writes the scheduler's address once it is known."""
    rank_table: Path | None = None
    """hccl.json, where HCCL is given one; the scheduler's address is read from it, too."""
    attempt: int | None = None
    """Attempt of the job that the pod belongs to; None where nobody counts them."""
    job_uid: str | None = None
    """The job by its uid, which tells it from an earlier one of its name; None where no API server gave it one."""
    launch: int = 0
    """Launch of the attempt's ranks that the rank is of; the launcher sets it."""
    launch_file: Path | None = None
    """File that shows the operator's call for a launch; empty or absent: the first."""
    device: int = 0
    """The rank's card as its container counts them; the launcher sets it."""
    states: Path | None = None
    """Folder in the pod's shared memory that outlives its ranks; None where the launcher found none."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What the variables say; InvalidInput where a number is none."""
        return cls(
            rank=_number(environment, NODE_ID, 0),
            world_size=_number(environment, WORKER_NUM, 1),
            scheduler_port=_number(environment, SCHEDULER_PORT, RENDEZVOUS_PORT, most=65_535),
            address=environment.get(POD_IP) or LOOPBACK,
            scheduler_file=_path(environment, SCHEDULER_FILE),
            rank_table=_path(environment, RANK_TABLE),
            attempt=_number(environment, ATTEMPT, 0) if ATTEMPT in environment else None,
            job_uid=_uid(environment),
            launch=_number(environment, LAUNCH, 0),
            launch_file=_path(environment, LAUNCH_FILE),
            device=_number(environment, DEVICE_ID, 0),
            states=_path(environment, STATES),
        )

    def variables(self) -> dict[str, str]:
        """The pod's variables, less POD_IP, which the kubelet knows, and what the launcher sets."""
        values = {WORKER_NUM: str(self.world_size), NODE_ID: str(self.rank)}
        values |= self.origin()
        if self.launch_file is not None:
            values[LAUNCH_FILE] = str(self.launch_file)
        if self.world_size == 1:
            return values
        values |= {ROLE: WORKER, SCHEDULER_PORT: str(self.scheduler_port)}
        if self.scheduler_file is not None:
            values[SCHEDULER_FILE] = str(self.scheduler_file)
        if self.rank_table is not None:
            values |= {RANK_TABLE: str(self.rank_table), RANK_SIZE: str(self.world_size), RANK_ID: str(self.rank)}
        return values

    def origin(self) -> dict[str, str]:
        """The variables that tell of which job and attempt a pod is."""
        values = {ATTEMPT: None if self.attempt is None else str(self.attempt), JOB_UID: self.job_uid}
        return {name: value for name, value in values.items() if value is not None}


def _uid(environment: Mapping[str, str]) -> str | None:
    """The job's uid, which is part of a folder's name."""
    uid = environment.get(JOB_UID)
    if uid and re.fullmatch("[A-Za-z0-9-]{1,64}", uid) is None:
        raise InvalidInput(f"{JOB_UID}={uid!r} in the environment is not the uid of a job: the operator sets it")
    return uid or None


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    text = environment.get(name)
    return Path(text) if text else None


def _number(environment: Mapping[str, str], name: str, default: int, most: int = 2**31 - 1) -> int:
    text = environment.get(name, str(default))
    if re.fullmatch("[0-9]{1,10}", text) is None or int(text) > most:
        given = f"{name}={text[:40]!r} in the environment"
        raise InvalidInput(f"{given} is not a number from 0 to {most}: the operator sets it")
    return int(text)
