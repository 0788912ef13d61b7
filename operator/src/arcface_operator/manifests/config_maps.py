"""ConfigMaps of a job: `<job>-config`, which every pod mounts, and `rings-config-<job>`, the rank table of its ranks.

The first holds the run configuration: the job with every default filled in and every claim turned into the folder that
pods see.
"""

import posixpath
from datetime import datetime

from arcface_api.contract import pod_environment as pods, run_config
from arcface_api.contract.recipe import recipe, spec_hash
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec, EvaluationSpec, TrainingSpec
from arcface_operator.manifests.metadata import Manifest, build_metadata, config_name, rank_table_name
from arcface_operator.settings import Settings


def build_config_map(job: ArcFaceTrainingJob, attempt: int = 0, image: str | None = None) -> Manifest:
    """The run configuration of an attempt as a file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": build_metadata(job, config_name(job.metadata.name), "config"),
        "data": {pods.RUN_CONFIG_FILE: build_run_config(job, attempt, image).to_json()},
    }


def build_run_config(job: ArcFaceTrainingJob, attempt: int = 0, image: str | None = None) -> run_config.RunConfig:
    """What the pods of an attempt are told; their image where they have one."""
    spec = job.spec
    return run_config.RunConfig(
        job=job.metadata.name,
        namespace=job.metadata.namespace,
        attempt=attempt,
        image=image,
        spec_hash=spec_hash(spec),
        recipe=recipe(spec),
        model=spec.model,
        init_directory=None
        if spec.model.init_from is None
        else _folder(pods.INIT_FROM_MOUNT, spec.model.init_from.path),
        loss=spec.loss,
        data=run_config.RunData(
            directory=_folder(pods.DATA_MOUNT, spec.data.path),
            min_images_per_identity=spec.data.min_images_per_identity,
            augmentation=spec.data.augmentation,
            shuffle_window=spec.data.shuffle_window,
        ),
        training=_complete_training(spec),
        ranks=_run_ranks(job),
        checkpoint=run_config.RunCheckpoint(
            directory=_folder(pods.CHECKPOINT_MOUNT, checkpoint_path(job)),
            path=checkpoint_path(job),
            every_steps=spec.checkpoint.every_steps,
            every_minutes=spec.checkpoint.every_minutes,
            keep_last=spec.checkpoint.keep_last,
            mirror_mebibytes=spec.checkpoint.mirror_mebibytes,
        ),
        evaluation=None if spec.evaluation is None else _run_evaluation(spec.evaluation),
        stall_seconds=spec.run_policy.stall_seconds,
        metrics_port=pods.METRICS_PORT,
    )


def checkpoint_path(job: ArcFaceTrainingJob) -> str:
    """Folder of the job's checkpoints within the claim."""
    return job.spec.checkpoint.path or job.metadata.name


def _complete_training(spec: ArcFaceTrainingJobSpec) -> TrainingSpec:
    """The optimisation with learning rate and precision filled in."""
    optimizer = spec.training.optimizer.model_copy(update={"learning_rate": spec.learning_rate})
    return spec.training.model_copy(update={"optimizer": optimizer, "precision": spec.precision})


def _run_ranks(job: ArcFaceTrainingJob) -> run_config.RunRanks:
    """The gang of ranks."""
    workers = job.spec.workers
    return run_config.RunRanks(
        world_size=job.gang.world_size,
        full_world_size=workers.world_size,
        per_pod=workers.devices_per_worker,
        accelerator=workers.accelerator,
        rendezvous=workers.effective_rendezvous,
    )


def _run_evaluation(evaluation: EvaluationSpec) -> run_config.RunEvaluation:
    """The verification sets and what they must reach."""
    return run_config.RunEvaluation(
        directory=_folder(pods.EVALUATION_MOUNT, evaluation.path),
        sets=evaluation.sets,
        ijb=evaluation.ijb,
        every_epochs=evaluation.every_epochs,
        gates=evaluation.gates,
    )


def _folder(mount: str, path: str) -> str:
    """Folder in a mounted claim, without a slash at its end."""
    return posixpath.join(mount, path).rstrip("/")


VERSION_KEY = "version"
"""Time of the last change in seconds: tells a trainer that reads the file twice whether it is another table."""


def build_rank_table_map(job: ArcFaceTrainingJob, document: str, now: datetime, settings: Settings) -> Manifest:
    """The rank table of a job, complete or still initializing."""
    metadata = build_metadata(job, rank_table_name(job.metadata.name), "rank-table")
    metadata["labels"][pods.CHIP_FAMILY_LABEL] = settings.chip_family
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {pods.RANK_TABLE_FILE: document, VERSION_KEY: str(int(now.timestamp()))},
    }
