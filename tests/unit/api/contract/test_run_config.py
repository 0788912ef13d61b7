from pathlib import Path

from arcface_api.contract.run_config import RunCheckpoint


def test_a_checkpoint_is_named_relative_to_its_claim():
    settings = RunCheckpoint(directory="/checkpoints/runs/7", path="runs/7/", every_steps=1, keep_last=1)
    assert settings.path_of(Path("/checkpoints/runs/7/step-00000100")) == "runs/7/step-00000100"
    assert settings.path_of(Path("/checkpoints/runs/7")) == "runs/7"
