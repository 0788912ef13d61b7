"""What the operator tells an evaluator."""

from collections.abc import Sequence
from pathlib import Path

from arcface_api.contract.run_config import RunCheckpoint, RunConfig, RunData, RunEvaluation, RunRanks
from arcface_api.resource.spec import GateSpec, LossSpec, ModelSpec, TrainingSpec


def write_config(folder: Path, sets: Sequence[str], ijb: Sequence[str] = (), gates: Sequence[GateSpec] = ()) -> Path:
    """run.json of a job whose checkpoints and sets lie in `folder`."""
    evaluation = RunEvaluation(directory=str(folder), sets=list(sets), ijb=list(ijb), gates=list(gates))
    config = RunConfig(
        job="faces",
        namespace="default",
        spec_hash="0" * 64,
        model=ModelSpec(),
        loss=LossSpec(),
        data=RunData(directory="data", min_images_per_identity=1, augmentation="flip"),
        training=TrainingSpec(),
        ranks=RunRanks(world_size=1, per_pod=1, accelerator="cpu", rendezvous="dynamic"),
        checkpoint=RunCheckpoint(directory=str(folder / "checkpoints"), path="runs/7", every_steps=10, keep_last=1),
        metrics_port=0,
        evaluation=evaluation if sets else None,
    )
    path = folder / "run.json"
    path.write_text(config.to_json())
    return path
