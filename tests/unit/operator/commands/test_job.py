"""The commands as a user calls them."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from arcface_api.errors import InvalidInput
from arcface_operator.commands.job import _valid_with_data
from arcface_operator.local.runner import check_runnable
from arcface_operator.preflight.data import Counts, is_installed
from arcface_operator.preflight.job_file import read_job
from support.builders.jobs import job_document
from support.builders.small_png import small_png, write_small_set

NPUS_OF_A5 = {"accelerator": "ascend", "resourceName": "huawei.com/npu"}


def arcface(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from arcface_api.command import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def write_job(folder: Path, **spec: Any) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job_document(**spec)))
    return path


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", **fields}]}}


def test_a_valid_job_is_said_to_be_valid(tmp_path: Path) -> None:
    write_job(tmp_path)
    ended = arcface("validate", "-f", "job.yaml", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "job.yaml: quick is valid\n", "")


EXAMPLES = Path(__file__).parents[4] / "examples"
EXAMPLE = EXAMPLES / "ms1mv2-8x910.yaml"


def test_what_a_valid_job_needs_of_a_node_counts_mindspore_and_on_a_cpu_no_card() -> None:
    """Two pods of one rank: 420 MB are MindSpore's own, beside 4,000 images and a small network."""
    told = _valid_with_data(Path("job.yaml"), read_job(EXAMPLES / "lfw.yaml"), Counts(identities=955, images=4000))
    assert told == (
        "job.yaml: lfw is valid: 4,000 images of 955 identities, 1,860 steps, at least 684.4 MiB for pod 0 on its node"
    )
    told = _valid_with_data(EXAMPLE, read_job(EXAMPLE), Counts(identities=85742, images=5822653))
    card, node = "about 9.0 GiB of its card a rank", "at least 4.8 GiB for pod 0 on its node"
    assert told.endswith(f"steps, {card}, {node}")


@pytest.mark.parametrize("precision", ["fp16", None])
def test_the_flagship_job_is_valid_and_its_plan_prints_numbers(tmp_path: Path, precision: str | None) -> None:
    document = yaml.safe_load(EXAMPLE.read_text())
    assert document["spec"]["training"].pop("precision") == "fp16"
    if precision is not None:
        document["spec"]["training"]["precision"] = precision
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    ended = arcface("validate", "-f", "job.yaml", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "job.yaml: ms1mv2-r100 is valid\n", "")
    ended = arcface("plan", "-f", "job.yaml", "--identities", "85742", "--images", "5822653", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "65,156,160" in ended.stdout


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_flagship_job_is_refused_what_its_910a_does_not_compute(tmp_path: Path, precision: str) -> None:
    document = yaml.safe_load(EXAMPLE.read_text())
    document["spec"]["training"]["precision"] = precision
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    ended = arcface("validate", "-f", "job.yaml", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"Ascend 910A cards, which compute no {precision}; write fp16" in ended.stderr


def test_a_precision_that_cards_may_not_compute_is_told_beside_the_verdict(tmp_path: Path) -> None:
    write_job(tmp_path, workers={"accelerator": "ascend"}, training={"precision": "fp32"})
    ended = arcface("validate", "-f", "job.yaml", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "spec.training.precision: fp32 ends the ranks" in ended.stdout


REFUSED = [
    pytest.param({"data": {"foo": 1}}, "job.yaml: spec.data.foo: unknown field", id="field"),
    pytest.param(
        {"workers": {"accelerator": "ascend", "resourceName": "huawei.com/npu"}, "training": {"precision": "fp32"}},
        "spec.workers.resourceName: huawei.com/npu (A5, 950) needs rank table 2.0, not supported yet; use 910 cards",
        id="unsupported",
    ),
    pytest.param(
        {
            "workers": {"accelerator": "ascend", "replicas": 2048, "devicesPerWorker": 8},
            "training": {"precision": "fp32"},
        },
        "spec.workers: the rank table of 2048 x 8 ranks has up to 1,253,505 bytes, a ConfigMap "
        "holds 1,048,576: use 1713 replicas at most, or rendezvous dynamic",
        id="rank table too large",
    ),
    pytest.param(
        {"workers": {"template": {"nodeSelector": {}}}},
        "spec.workers.template.nodeSelector: unknown field; a pod template has metadata and spec",
        id="template",
    ),
    pytest.param(
        {"workers": {"template": {"spec": {"terminationGracePeriodSeconds": "long"}}}},
        "spec.workers.template: spec.terminationGracePeriodSeconds: Input should be a valid "
        "integer; correct the template",
        id="grace period",
    ),
    pytest.param(
        {"evaluation": {"claimName": "sets", "template": container(volumeMounts=[{"mountPath": "/x"}])}},
        "spec.evaluation.template: spec.containers[0].volumeMounts[0].name: required field is "
        "missing; correct the template",
        id="mount without a name",
    ),
    pytest.param(
        {"workers": {"template": container(volumeMounts=[{"mountPath": "/x", "name": "none"}])}},
        "volumeMount /x: the pod has no volume 'none'; correct the template",
        id="unknown volume",
    ),
    pytest.param(
        {"workers": {"template": container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"key": "k"}}}])}},
        'env A: {"secretKeyRef": {"key": "k"}} is not known on this machine; give a plain value',
        id="value from elsewhere",
    ),
]


@pytest.mark.parametrize("command", ["validate", "plan"])
@pytest.mark.parametrize(("spec", "message"), REFUSED)
def test_what_cannot_be_carried_out_is_refused_in_one_line(
    tmp_path: Path, command: str, spec: dict[str, Any], message: str
) -> None:
    write_job(tmp_path, **spec)
    ended = arcface(command, "-f", "job.yaml", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"arcface {command}: {message}\n")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param(
            "plan",
            "arcface plan: how much data is unknown; give --volume faces=DIR, or --identities and --images",
            id="no counts",
        ),
        pytest.param(
            "run",
            "arcface run: spec.data.claimName: no directory for claim faces; give it with --volume faces=DIR",
            id="no data",
        ),
    ],
)
def test_what_is_not_at_hand_is_asked_for_in_one_line(tmp_path: Path, command: str, message: str) -> None:
    write_job(tmp_path)
    ended = arcface(command, "-f", "job.yaml", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"{message}\n")


def test_evaluation_sets_must_be_files(tmp_path: Path) -> None:
    write_job(tmp_path, evaluation={"claimName": "sets", "path": "bins", "sets": ["lfw", "cplfw"]})
    (tmp_path / "s" / "bins").mkdir(parents=True)
    (tmp_path / "s" / "bins" / "lfw.bin").touch()
    ended = arcface("validate", "-f", "job.yaml", "--volume", "sets=s", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == (
        f"arcface validate: spec.evaluation.sets: {tmp_path}/s/bins has no cplfw.bin; add them or name fewer sets\n"
    )


def odd(good: bytes) -> bytes:
    return pickle.dumps(([small_png()] * 21, [True] * 10))


@pytest.mark.skipif(not is_installed("evaluate"), reason="the evaluator is not installed here")
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(odd, "holds 21 images, an odd number", id="odd"),
        pytest.param(lambda good: good[:-20], "the file ends inside the pickle", id="cut short"),
        pytest.param(lambda _: b"cos\nsystem\n(S'touch hacked'\ntR.", "the pickle names 'os.system'", id="hostile"),
        pytest.param(lambda good: good.replace(b"PNG", b"PMG"), "image 0: does not decode", id="no images"),
    ],
)
def test_evaluation_sets_must_be_sound(tmp_path: Path, spoil: Callable[[bytes], bytes], told: str) -> None:
    write_job(tmp_path, evaluation={"claimName": "sets", "sets": ["lfw", "cplfw"]})
    (tmp_path / "s").mkdir()
    good = write_small_set(tmp_path / "s" / "lfw.bin").read_bytes()
    (tmp_path / "s" / "cplfw.bin").write_bytes(good)
    assert arcface("validate", "-f", "job.yaml", "--volume", "sets=s", cwd=tmp_path).returncode == 0
    (tmp_path / "s" / "cplfw.bin").write_bytes(spoil(good))
    ended = arcface("validate", "-f", "job.yaml", "--volume", "sets=s", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith(f"arcface validate: spec.evaluation.sets: {tmp_path}/s/cplfw.bin: ")
    assert told in ended.stderr
    assert not (tmp_path / "hacked").exists()


def test_plan_takes_counts_where_there_is_no_data(tmp_path: Path) -> None:
    write_job(tmp_path, model={"backbone": "iresnet18"}, training={"batchSize": 10, "epochs": 3})
    ended = arcface("plan", "-f", "job.yaml", "--identities", "50", "--images", "1009", cwd=tmp_path)
    assert ended.returncode == 0
    assert "24,025,600" in ended.stdout
    assert [line.split()[-1] for line in ended.stdout.splitlines() if line.startswith("steps in all")] == ["300"]


def test_plan_tells_programs_the_same_in_bytes(tmp_path: Path) -> None:
    write_job(tmp_path, workers={"accelerator": "cpu", "replicas": 2}, training={"batchSize": 10})
    ended = arcface("plan", "-f", "job.yaml", "--identities", "50", "--images", "1009", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    messages = {message["name"]: message for message in found["collectives"]}
    # 10 images, each an embedding of 512 numbers and a label of two
    handed_over = 10 * (512 + 2) * 4
    told = {
        "name": "embeddings",
        "operation": "allGather",
        "handedOver": handed_over,
        "received": 2 * handed_over,
        "times": 1,
    }
    assert messages["embeddings"] == told
    assert found["counts"] == {"identities": 50, "images": 1009}
    assert found["memory"]["total"] == sum(size for part, size in found["memory"].items() if part != "total")
    assert found["storage"]["claim"] == 4 * found["storage"]["checkpoint"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"suspend": True}, "spec.suspend: is true", id="suspended"),
        pytest.param({"workers": NPUS_OF_A5}, "spec.workers.resourceName", id="unsupported"),
    ],
)
def test_what_this_machine_cannot_run_is_refused(tmp_path: Path, spec: dict[str, Any], field: str) -> None:
    job = read_job(write_job(tmp_path, **spec))
    with pytest.raises(InvalidInput) as caught:
        check_runnable(job)
    assert str(caught.value).startswith(field)


def has_reader() -> bool:
    return find_spec("arcface_trainer") is not None and find_spec("arcface_trainer.commands.data") is not None


@pytest.mark.skipif(not has_reader(), reason="the trainer's reader is not installed here")
def test_real_faces_are_counted(tmp_path: Path, faces: Path) -> None:
    write_job(tmp_path, training={"batchSize": 32})
    ended = arcface("plan", "-f", "job.yaml", "--volume", f"faces={faces}", cwd=tmp_path)
    stats = arcface("data", "stats", faces, "--min-images", "1", "--json", cwd=tmp_path)
    assert ended.returncode == 0
    assert f"{json.loads(stats.stdout)['images']:,}" in ended.stdout
