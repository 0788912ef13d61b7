"""ConfigMap `rings-config-<job>`: the rank table as the ranks see it at RANK_TABLE_FILE."""

from datetime import datetime

from arcface_api.contract.pod_environment import CHIP_FAMILY_LABEL, RANK_TABLE_FILE
from arcface_api.contract.rank_table import RankedDevice, RankTableDocument, Server, ServerReference, SuperPod
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.manifests.metadata import Manifest, build_metadata, rank_table_name
from arcface_operator.manifests.super_pods import has_super_pods
from arcface_operator.settings import Settings

VERSION_KEY = "version"
"""Time of the last change in seconds: tells a trainer that reads the file twice whether it is another table."""

DATA_LIMIT = 1024 * 1024
"""Bytes of a ConfigMap's data that the API server takes (`ValidateConfigMap` in Kubernetes)."""
_LONGEST_ADDRESS = "255.255.255.255"


def too_large_rank_table(spec: ArcFaceTrainingJobSpec) -> str | None:
    """What is said of a job whose rank table may not fit into its ConfigMap; None where it always does."""
    workers = spec.workers
    if workers.effective_rendezvous != "rankTable":
        return None
    size = largest_rank_table(spec)
    if size <= DATA_LIMIT:
        return None
    most = workers.replicas * DATA_LIMIT // size
    return (
        f"spec.workers: the rank table of {workers.replicas} x {workers.devices_per_worker} ranks has up to {size:,} "
        f"bytes, a ConfigMap holds {DATA_LIMIT:,}: use {most} replicas at most, or rendezvous dynamic"
    )


def largest_rank_table(spec: ArcFaceTrainingJobSpec) -> int:
    """Bytes of a job's rank table where all of its numbers and IPv4 addresses are as long as they can be."""
    pods, devices, is_super = spec.workers.replicas, spec.workers.devices_per_worker, has_super_pods(spec)
    card = RankedDevice(
        device_id=str(devices + 15),
        device_ip=_LONGEST_ADDRESS,
        super_device_id=str(2**32 - 1) if is_super else None,
        rank_id=str(spec.workers.world_size - 1),
    )
    server = Server(server_id=_LONGEST_ADDRESS, host_ip=_LONGEST_ADDRESS, container_ip=_LONGEST_ADDRESS)
    pod = len(server.model_copy(update={"device": [card] * devices}).model_dump_json(exclude_none=True)) + 1
    if is_super:  # each server may be a super pod of its own
        reference = ServerReference(server_id=_LONGEST_ADDRESS)
        pod += len(SuperPod(super_pod_id=str(pods), server_list=[reference]).model_dump_json()) + 1
    table = RankTableDocument(status="completed", version="1.2", server_count=str(pods), server_list=[])
    return len(table.to_json()) + len(',"super_pod_list":[]') + pods * pod + len(VERSION_KEY) + 10


def build_rank_table_map(job: ArcFaceTrainingJob, document: str, now: datetime, settings: Settings) -> Manifest:
    """The rank table of a job, complete or still initializing."""
    metadata = build_metadata(job, rank_table_name(job.metadata.name), "rank-table")
    metadata["labels"][CHIP_FAMILY_LABEL] = settings.chip_family
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {RANK_TABLE_FILE: document, VERSION_KEY: str(int(now.timestamp()))},
    }
