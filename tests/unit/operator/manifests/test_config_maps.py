from arcface_api.contract.recipe import spec_hash
from arcface_api.contract.run_config import RunConfig
from arcface_operator.manifests.config_maps import build_run_config
from support.builders.jobs import make_job


def test_defaults_are_filled_in() -> None:
    job = make_job(training={"batchSize": 64}, workers={"accelerator": "ascend", "replicas": 2, "devicesPerWorker": 4})
    config = build_run_config(job)
    assert config.learning_rate == 0.1 * 512 / 1024
    assert config.precision == "fp16"
    assert config.ranks.world_size == 8
    assert config.ranks.per_pod == 4
    assert config.ranks.rendezvous == "rankTable"
    assert config.evaluation is None
    assert config.spec_hash == spec_hash(job.spec)


def test_given_values_stay() -> None:
    job = make_job(training={"optimizer": {"learningRate": 0.3}}, workers={"rendezvous": "dynamic"})
    config = build_run_config(job)
    assert config.learning_rate == 0.3
    assert config.precision == "fp32"
    assert config.ranks.rendezvous == "dynamic"


def test_folders_are_below_the_mounts() -> None:
    job = make_job(
        "night",
        data={"path": "faces/train/"},
        checkpoint={"path": "runs/7"},
        evaluation={"claimName": "sets", "path": "bins"},
    )
    config = build_run_config(job)
    assert config.data.directory == "/data/faces/train"
    assert (config.checkpoint.directory, config.checkpoint.path) == ("/checkpoints/runs/7", "runs/7")
    assert config.evaluation is not None
    assert config.evaluation.directory == "/evaluation/bins"


def test_checkpoints_without_a_path_lie_in_a_folder_of_the_jobs_name() -> None:
    config = build_run_config(make_job("night"))
    assert config.data.directory == "/data"
    assert (config.checkpoint.directory, config.checkpoint.path) == ("/checkpoints/night", "night")


def test_the_other_side_reads_back_the_same() -> None:
    config = build_run_config(make_job(evaluation={"claimName": "sets"}))
    assert RunConfig.from_json(config.to_json(), "run.json") == config
