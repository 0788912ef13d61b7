"""The spec of the resource as the API server and kubectl know it."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_api.resource.spec import ArcFaceTrainingJobSpec, LossSpec
from arcface_api.resource.validation import (
    COMBINED_NEEDS_MARGINS,
    CPU_IS_SINGLE_PRECISION,
    ELASTIC_GANGS_MAY_BE_PLACED_IN_PART,
    FREEZE_ENDS,
    FREEZE_NEEDS_INIT,
    GATE_IS_BOUNDED,
    GATES_ARE_ABOUT_SETS,
    MARGINS_ARE_FOR_COMBINED,
    METRIC,
    MILESTONES_ARE_FOR_STEP,
    MILESTONES_RISE,
    MIN_REPLICAS_FIT,
    NAME,
    NAME_LEAVES_ROOM,
    QUANTITY,
    RANK_TABLE_NEEDS_ASCEND,
    RELATIVE_PATH,
    ROUNDS_NEED_SETS,
    SET_NAME,
    SETS_ARE_NAMED,
    SETS_DIFFER,
    STEM_STRIDE_IS_FOR_IRESNET,
    WARMUP_ENDS,
)
from arcface_operator.preflight.job_file import read_job
from support.builders.jobs import job_document
from support.job_requests import MERGE, STRICT, causes, create, jobs_path
from support.waiting import wait_until
from testbed.control_plane.api_answers import answer
from testbed.control_plane.cluster import ControlPlane
from testbed.programs.commands import TestbedError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(set((ROOT / "examples").glob("*.yaml")) - set((ROOT / "examples").glob("cluster-*.yaml")))

Spec = dict[str, Any]


def change(api: httpx.Client, namespace: str, spec: Spec, name: str = "quick") -> httpx.Response:
    path = f"{jobs_path(namespace)}/{name}"
    return api.patch(path, params=STRICT, headers=MERGE, content=json.dumps({"spec": spec}))


def evaluation(**fields: Any) -> Spec:
    return {"evaluation": {"claimName": "faces", **fields}}


def schedule(**fields: Any) -> Spec:
    return {"training": {"schedule": fields}}


def gate(metric: str, least: float = 0.9) -> Spec:
    return evaluation(ijb=["IJBC"], gates=[{"metric": metric, "min": least}])


def one_of(value: str, *allowed: str) -> str:
    """The API server's own sentence about a word that is none of those allowed."""
    return f'Unsupported value: "{value}": supported values: ' + ", ".join(f'"{word}"' for word in allowed)


# One invalid job each: what is wrong with the spec, the field that the API server names, and its sentence.
INVALID = [
    # Rules over several fields.
    pytest.param({"model": {"freezeEpochs": 1}}, "spec.model", FREEZE_NEEDS_INIT.message, id="freeze without init"),
    pytest.param(
        {"model": {"initFrom": {"claimName": "models", "path": "/other"}}},
        "spec.model.initFrom.path",
        RELATIVE_PATH.message,
        id="checkpoint outside of its claim",
    ),
    pytest.param(
        {"model": {"stemStride": 2, "backbone": "mobilefacenet"}},
        "spec.model",
        STEM_STRIDE_IS_FOR_IRESNET.message,
        id="stem stride of mobilefacenet",
    ),
    pytest.param(
        {"loss": {"type": "combined", "m1": 1, "m2": 0.3}},
        "spec.loss",
        COMBINED_NEEDS_MARGINS.message,
        id="combined without m3",
    ),
    pytest.param({"loss": {"m2": 0.3}}, "spec.loss", MARGINS_ARE_FOR_COMBINED.message, id="m2 of arcface"),
    pytest.param(
        schedule(type="step"), "spec.training.schedule", MILESTONES_ARE_FOR_STEP.message, id="step without milestones"
    ),
    pytest.param(
        schedule(milestones=[8, 14]),
        "spec.training.schedule",
        MILESTONES_ARE_FOR_STEP.message,
        id="milestones of polynomial",
    ),
    pytest.param(
        schedule(type="step", milestones=[14, 8]),
        "spec.training.schedule",
        MILESTONES_RISE.message,
        id="falling milestones",
    ),
    pytest.param(
        schedule(type="step", milestones=[8, 8]),
        "spec.training.schedule",
        MILESTONES_RISE.message,
        id="equal milestones",
    ),
    pytest.param(schedule(warmupEpochs=20), "spec.training", WARMUP_ENDS.message, id="warm-up to the end"),
    pytest.param(
        {"workers": {"rendezvous": "rankTable"}}, "spec.workers", RANK_TABLE_NEEDS_ASCEND.message, id="table on cpu"
    ),
    pytest.param(
        {"workers": {"replicas": 2, "minReplicas": 3}}, "spec.workers", MIN_REPLICAS_FIT.message, id="more than all"
    ),
    pytest.param(
        {"workers": {"replicas": 2, "minReplicas": 1}, "scheduling": {"gang": "volcano"}},
        "spec",
        ELASTIC_GANGS_MAY_BE_PLACED_IN_PART.message,
        id="a part of a gang",
    ),
    pytest.param(
        {"model": {"initFrom": {"claimName": "models"}, "freezeEpochs": 20}}, "spec", FREEZE_ENDS.message, id="frozen"
    ),
    pytest.param({"training": {"precision": "fp16"}}, "spec", CPU_IS_SINGLE_PRECISION.message, id="fp16 on cpu"),
    pytest.param(evaluation(sets=[]), "spec.evaluation", SETS_ARE_NAMED.message, id="no set"),
    pytest.param(
        evaluation(sets=[], ijb=["IJBC"], everyEpochs=1),
        "spec.evaluation",
        ROUNDS_NEED_SETS.message,
        id="rounds of none",
    ),
    pytest.param(evaluation(sets=["lfw", "lfw"]), "spec.evaluation", SETS_DIFFER.message, id="a set twice"),
    pytest.param(evaluation(ijb=["IJBC", "IJBC"]), "spec.evaluation", SETS_DIFFER.message, id="an IJB set twice"),
    pytest.param(gate("vgg2_fp.accuracy"), "spec.evaluation", GATES_ARE_ABOUT_SETS.message, id="gate about no set"),
    pytest.param(gate("IJBC.accuracy"), "spec.evaluation", GATES_ARE_ABOUT_SETS.message, id="accuracy of an IJB set"),
    pytest.param(
        evaluation(gates=[{"metric": "lfw.eer"}]), "spec.evaluation.gates[0]", GATE_IS_BOUNDED.message, id="no bound"
    ),
    # Texts of a certain form.
    pytest.param({"data": {"claimName": "Faces"}}, "spec.data.claimName", NAME.message, id="claim"),
    pytest.param({"data": {"path": "/faces"}}, "spec.data.path", RELATIVE_PATH.message, id="absolute path"),
    pytest.param(
        {"checkpoint": {"path": "../other"}}, "spec.checkpoint.path", RELATIVE_PATH.message, id="path outside"
    ),
    pytest.param(evaluation(sets=["l f w"]), "spec.evaluation.sets[0]", SET_NAME.message, id="set with spaces"),
    pytest.param(gate("lfw.f1"), "spec.evaluation.gates[0].metric", METRIC.message, id="unknown figure"),
    pytest.param(
        {"workers": {"resources": {"requests": {"cpu": "four"}}}},
        "spec.workers.resources.requests[cpu]",
        QUANTITY.message,
        id="quantity",
    ),
    # Values that one field does not allow.
    pytest.param(
        {"model": {"backbone": "resnet50"}},
        "spec.model.backbone",
        one_of("resnet50", "iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200", "mobilefacenet"),
        id="backbone",
    ),
    pytest.param(
        {"loss": {"type": "triplet"}},
        "spec.loss.type",
        one_of("triplet", "arcface", "cosface", "combined"),
        id="loss",
    ),
    pytest.param(
        {"scheduling": {"gang": "slurm"}},
        "spec.scheduling.gang",
        one_of("slurm", "none", "native", "volcano", "coscheduling", "kueue"),
        id="gang scheduler",
    ),
    pytest.param(
        {"imagePullPolicy": "Sometimes"},
        "spec.imagePullPolicy",
        one_of("Sometimes", "Always", "IfNotPresent", "Never"),
        id="pull policy",
    ),
    *(
        pytest.param(spec, field, f"{field} in body should be {bound}", id=field.rpartition(".")[2])
        for spec, field, bound in (
            ({"model": {"width": 0}}, "spec.model.width", "greater than 0"),
            ({"model": {"embeddingSize": 4}}, "spec.model.embeddingSize", "greater than or equal to 8"),
            ({"model": {"dropout": 1}}, "spec.model.dropout", "less than 1"),
            ({"loss": {"scale": -64}}, "spec.loss.scale", "greater than 0"),
            ({"loss": {"sampleRate": 1.5}}, "spec.loss.sampleRate", "less than or equal to 1"),
            ({"training": {"epochs": 0}}, "spec.training.epochs", "greater than or equal to 1"),
            ({"training": {"optimizer": {"momentum": 1}}}, "spec.training.optimizer.momentum", "less than 1"),
            ({"workers": {"replicas": 0}}, "spec.workers.replicas", "greater than or equal to 1"),
            ({"workers": {"devicesPerWorker": 65}}, "spec.workers.devicesPerWorker", "less than or equal to 64"),
            (gate("lfw.accuracy", 99.7), "spec.evaluation.gates[0].min", "less than or equal to 1"),
            ({"runPolicy": {"backoffLimit": -1}}, "spec.runPolicy.backoffLimit", "greater than or equal to 0"),
        )
    ),
    *(
        pytest.param(spec, field, f"{field} in body must be of type {kind}", id=f"{kind} in quotes")
        for spec, field, kind in (
            ({"training": {"epochs": "20"}}, "spec.training.epochs", "integer"),
            ({"loss": {"margin": "0.5"}}, "spec.loss.margin", "number"),
            ({"suspend": "yes"}, "spec.suspend", "boolean"),
        )
    ),
]


def test_there_are_at_least_forty_invalid_specs():
    assert len(INVALID) >= 40


@pytest.mark.parametrize(("spec", "field", "sentence"), INVALID)
def test_an_invalid_spec_is_refused_with_one_sentence_about_its_field(api, namespace, spec, field, sentence):
    document = job_document(**spec)
    ((named, said),) = causes(api.post(jobs_path(namespace), params=STRICT, json=document))
    assert named == field
    assert sentence in said


def test_kubectl_prints_the_sentence(control_plane, namespace):
    document = json.dumps(job_document(training={"precision": "fp16"}))
    with pytest.raises(TestbedError, match=f"spec: Invalid value: .*{CPU_IS_SINGLE_PRECISION.message}"):
        control_plane.kubectl("create", "--namespace", namespace, "--filename", "-", stdin=document)


@pytest.mark.parametrize("section", ["data", "checkpoint"])
def test_a_section_without_default_is_required(api, namespace, section):
    document = job_document()
    del document["spec"][section]
    refusal = api.post(jobs_path(namespace), params=STRICT, json=document)
    assert causes(refusal) == [(f"spec.{section}", "Required value")]


@pytest.mark.parametrize(("section", "field"), [("loss", "spec.loss.scales"), (None, "spec.scales")])
def test_an_unknown_field_is_refused_by_its_name(api, namespace, section, field):
    refusal = api.post(
        jobs_path(namespace),
        params=STRICT,
        json=job_document(**({section: {"scales": 64}} if section else {"scales": 64})),
    )
    assert refusal.status_code == httpx.codes.BAD_REQUEST
    assert refusal.json()["message"].endswith(f'unknown field "{field}"')


@pytest.mark.parametrize(
    ("name", "replicas"),
    [
        pytest.param("1st", 1, id="begins with a digit"),
        pytest.param("face.recognition", 1, id="a dot"),
        pytest.param("a" * 55, 1, id="no room for one rank's number"),
        pytest.param("a" * 54, 12, id="no room for the highest rank's number"),
    ],
)
def test_a_name_that_pods_cannot_carry_is_refused(api, namespace, name, replicas):
    document = job_document(name, workers={"replicas": replicas})
    ((_, said),) = causes(api.post(jobs_path(namespace), params=STRICT, json=document))
    assert NAME_LEAVES_ROOM.message in said


def test_the_longest_name_is_accepted(api, namespace):
    assert create(api, namespace, "a" * 54, workers={"replicas": 10})["metadata"]["name"] == "a" * 54


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_accepted_and_filled_up_as_the_types_fill_them(control_plane, api, namespace, example):
    control_plane.kubectl("create", "--namespace", namespace, "--filename", str(example))
    expected = read_job(example)
    kept = answer(api.get(f"{jobs_path(namespace)}/{expected.metadata.name}"))
    assert kept["spec"] == json.loads(expected.spec.to_json())


def test_the_types_read_what_the_api_server_answers(api, namespace):
    job = ArcFaceTrainingJob.from_json(json.dumps(create(api, namespace)), "API server")
    assert (job.spec.training.epochs, job.spec.run_policy.backoff_limit, job.metadata.generation) == (20, 3, 1)


FIXED = {
    "image": "trainer:2",
    "imagePullPolicy": "Never",
    "imagePullSecrets": [{"name": "registry"}],
    "model": {"backbone": "iresnet50"},
    "loss": {"margin": 0.4},
    "data": {"path": "faces"},
    "training": {"epochs": 21},
    "workers": {"replicas": 2},
    "checkpoint": {"keepLast": 4},
    "scheduling": {"queue": "later"},
}
CHANGEABLE = {
    "suspend": True,
    "runPolicy": {"backoffLimit": 5},
    "evaluation": {"claimName": "faces", "ijb": ["my.IJBC"], "gates": [{"metric": "my.IJBC.tar@2.5e-4", "min": 0.9}]},
}


@pytest.mark.parametrize("field", FIXED)
def test_a_created_job_keeps_its_spec(api, namespace, field):
    create(api, namespace)
    ((named, said),) = causes(change(api, namespace, {field: FIXED[field]}))
    assert named == "spec"
    assert f"spec.{field} cannot be changed after creation: create another job" in said


def test_a_job_with_a_default_that_is_none_any_more_is_applied_again_and_not_replaced(control_plane, api, namespace):
    """Releases that had one for the resource of a device have stored it, and files leave it out."""
    stored = job_document("stored", workers={"accelerator": "ascend", "resourceName": "huawei.com/Ascend910"})
    file = json.dumps(job_document("stored", workers={"accelerator": "ascend"}))
    control_plane.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(stored))
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=file)
    with pytest.raises(TestbedError, match="cannot be changed after creation"):
        control_plane.kubectl("replace", "-n", namespace, "-f", "-", stdin=file)


@pytest.mark.parametrize("field", CHANGEABLE)
def test_three_fields_may_change(api, namespace, field):
    create(api, namespace)
    changed = answer(change(api, namespace, {field: CHANGEABLE[field]}))
    assert changed["metadata"]["generation"] == 2


def test_every_field_of_the_spec_is_tried():
    assert FIXED.keys() | CHANGEABLE.keys() == {
        field.alias or name for name, field in ArcFaceTrainingJobSpec.model_fields.items()
    }


def test_kubectl_explains_the_loss(control_plane):
    wait_until(lambda: "FIELDS:" in explained(control_plane, "arcfacejob.spec"))  # published soon after Established
    said = explained(control_plane, "arcfacejob.spec.loss")
    assert "DESCRIPTION: The loss: a softmax over all identities, with a margin for the right one." in said
    for name, field in LossSpec.model_fields.items():
        assert f" {field.alias or name} <" in said
        assert field.description in said
    assert "enum: arcface, cosface, combined" in said


def explained(plane: ControlPlane, path: str) -> str:
    """What kubectl explains, without its line breaks."""
    try:
        return " ".join(plane.kubectl("explain", path).split())
    except TestbedError as error:
        return str(error)
