"""How large a job's rank table may become, before its pods exist."""

from arcface_api.contract.rank_table import RankedDevice, RankTableDocument, Server, ServerReference, SuperPod
from arcface_api.resource.spec import ArcFaceTrainingJobSpec
from arcface_operator.manifests.card_placement import has_super_pods

DATA_LIMIT = 1024 * 1024
"""Bytes of a ConfigMap's data that the API server takes (`ValidateConfigMap` in Kubernetes)."""
_LONGEST_ADDRESS = "255.255.255.255"
_LARGEST_ATTEMPT = "999999999"
_VERSION = 10
"""Bytes of the time beside it."""


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
    server = Server(server_id=_LONGEST_ADDRESS, container_ip=_LONGEST_ADDRESS)
    pod = len(server.model_copy(update={"device": [card] * devices}).model_dump_json(exclude_none=True)) + 1
    if is_super:  # each server may be a super pod of its own
        reference = ServerReference(server_id=_LONGEST_ADDRESS)
        pod += len(SuperPod(super_pod_id=str(pods), server_list=[reference]).model_dump_json()) + 1
    table = RankTableDocument(
        status="completed", version="1.2", attempt=_LARGEST_ATTEMPT, server_count=str(pods), server_list=[]
    )
    return len(table.to_json()) + len(',"super_pod_list":[]') + pods * pod + _VERSION
