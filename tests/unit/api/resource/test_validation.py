import json
from typing import Any

import pytest

from arcface_api.errors import InvalidInput
from arcface_api.resource import validation as rules
from arcface_api.resource.crd import job_schema
from arcface_api.resource.job import ArcFaceTrainingJob
from support.builders.jobs import job_document

EVALUATION = {"claimName": "faces"}

BROKEN = [
    pytest.param("spec.data.claimName", {"data": {"claimName": "Faces"}}, rules.NAME.message, id="claim"),
    pytest.param("spec.data.claimName", {"data": {"claimName": ""}}, rules.NAME.message, id="empty claim"),
    pytest.param("spec.data.path", {"data": {"path": "../faces"}}, rules.RELATIVE_PATH.message, id="path"),
    pytest.param(
        "spec.evaluation.sets[0]", {"evaluation": {**EVALUATION, "sets": ["l f w"]}}, rules.SET_NAME.message, id="set"
    ),
    pytest.param(
        "spec.evaluation.gates[0].metric",
        {"evaluation": {**EVALUATION, "gates": [{"metric": "lfw.f1", "min": 0.9}]}},
        rules.METRIC.message,
        id="metric",
    ),
    *(
        pytest.param(
            "spec.workers.resources.requests.cpu",
            {"workers": {"resources": {"requests": {"cpu": amount}}}},
            rules.QUANTITY.message,
            id=f"amount {amount}",
        )
        for amount in ("four", -1, "1Kb", "")
    ),
    pytest.param("spec.model", {"model": {"freezeEpochs": 1}}, "freezeEpochs needs initFrom", id="freeze"),
    *(
        pytest.param(
            "spec",
            {"model": {"initFrom": {"claimName": "models"}, "freezeEpochs": frozen}, "training": {"epochs": 2}},
            "model.freezeEpochs must be below training.epochs: the network would never learn",
            id=f"{frozen} of 2 epochs frozen",
        )
        for frozen in (2, 3)
    ),
    pytest.param(
        "spec.model.initFrom.path",
        {"model": {"initFrom": {"claimName": "models", "path": "../other"}}},
        rules.RELATIVE_PATH.message,
        id="checkpoint outside of its claim",
    ),
    pytest.param(
        "spec.model",
        {"model": {"stemStride": 2, "backbone": "mobilefacenet"}},
        "stemStride 2 is for IResNet backbones; mobilefacenet has it already",
        id="stem stride",
    ),
    pytest.param("spec.loss", {"loss": {"type": "combined", "m1": 1}}, "combined needs m1, m2 and m3", id="combined"),
    pytest.param("spec.loss", {"loss": {"m3": 0.1}}, "m1, m2 and m3 are for type combined only", id="margins"),
    pytest.param(
        "spec.training.schedule",
        {"training": {"schedule": {"type": "step"}}},
        "milestones belong to type step, which needs them",
        id="step without milestones",
    ),
    pytest.param(
        "spec.training.schedule",
        {"training": {"schedule": {"milestones": [3]}}},
        "milestones belong to type step, which needs them",
        id="milestones without step",
    ),
    pytest.param(
        "spec.training.schedule",
        {"training": {"schedule": {"type": "step", "milestones": [3, 2]}}},
        "milestones must rise",
        id="falling milestones",
    ),
    pytest.param(
        "spec.training.schedule",
        {"training": {"schedule": {"type": "step", "milestones": [2, 2]}}},
        "milestones must rise",
        id="equal milestones",
    ),
    pytest.param(
        "spec.training",
        {"training": {"epochs": 2, "schedule": {"warmupEpochs": 2}}},
        "schedule.warmupEpochs must be below epochs",
        id="warm-up",
    ),
    *(
        pytest.param(
            "spec.training",
            {"training": {"batchSize": 12, "gradientAccumulation": parts}},
            "gradientAccumulation must divide batchSize into parts of 2 or more images",
            id=f"12 images in {parts} parts",
        )
        for parts in (5, 12, 24)
    ),
    pytest.param(
        "spec.workers",
        {"workers": {"rendezvous": "rankTable"}},
        "rendezvous rankTable needs accelerator ascend",
        id="rank table",
    ),
    pytest.param(
        "spec.workers",
        {"workers": {"replicas": 2, "minReplicas": 3}},
        "minReplicas must not be above replicas",
        id="more than all pods",
    ),
    *(
        pytest.param(
            "spec",
            {"workers": {"replicas": 2, "minReplicas": 1}, "scheduling": {"gang": gang}},
            "workers.minReplicas below replicas needs scheduling.gang none or kueue: other gang schedulers place all "
            "pods or none",
            id=f"a part of a gang that {gang} places",
        )
        for gang in ("native", "volcano", "coscheduling")
    ),
    pytest.param(
        "spec.evaluation",
        {"evaluation": {**EVALUATION, "sets": []}},
        "name at least one set in sets or ijb",
        id="no set",
    ),
    pytest.param(
        "spec.evaluation",
        {"evaluation": {**EVALUATION, "sets": [], "ijb": ["IJBC"], "everyEpochs": 1}},
        "everyEpochs needs a set in sets: IJB sets are judged at the end",
        id="rounds of no set",
    ),
    pytest.param(
        "spec.evaluation",
        {"evaluation": {**EVALUATION, "sets": ["lfw", "lfw"]}},
        "every set may be named once",
        id="set twice",
    ),
    pytest.param(
        "spec.evaluation",
        {"evaluation": {**EVALUATION, "sets": ["IJBC"], "ijb": ["IJBC"]}},
        "every set may be named once",
        id="set of both kinds",
    ),
    pytest.param(
        "spec.evaluation",
        {"evaluation": {**EVALUATION, "gates": [{"metric": "mine.accuracy", "min": 0.9}]}},
        rules.GATES_ARE_ABOUT_SETS.message,
        id="gate about no set",
    ),
    pytest.param(
        "spec.evaluation",
        {"evaluation": {**EVALUATION, "ijb": ["IJBC"], "gates": [{"metric": "IJBC.accuracy", "min": 0.9}]}},
        rules.GATES_ARE_ABOUT_SETS.message,
        id="accuracy of an IJB set",
    ),
    pytest.param(
        "spec.evaluation.gates[0]",
        {"evaluation": {**EVALUATION, "gates": [{"metric": "lfw.eer", "min": 0.2, "max": 0.1}]}},
        "a gate needs min, max or both, min not above max",
        id="gate that nothing passes",
    ),
    pytest.param(
        "spec",
        {"training": {"precision": "bf16"}},
        "training.precision must be fp32 when workers.accelerator is cpu",
        id="precision",
    ),
    pytest.param(
        "spec.scheduling",
        {"scheduling": {"gang": "kueue"}},
        "gang kueue needs queue, the name of a LocalQueue",
        id="kueue without queue",
    ),
    pytest.param(
        "spec.runPolicy.failureRules[0]",
        {"runPolicy": {"failureRules": [{"action": "Fail"}]}},
        rules.FAILURE_RULE_MATCHES.message,
        id="failure rule that matches all",
    ),
    pytest.param(
        "spec.runPolicy.failureRules[0].reasons[0]",
        {"runPolicy": {"failureRules": [{"action": "Fail", "reasons": ["out of memory"]}]}},
        rules.REASON.message,
        id="reason",
    ),
]


def rules_at(path: str) -> list[dict[str, str]]:
    schema = job_schema()
    for name in path.split(".") if path else []:
        # Where names are free, all are of one form.
        schema = (
            schema["properties"][name.removesuffix("[0]")] if "properties" in schema else schema["additionalProperties"]
        )
        schema = schema["items"] if name.endswith("[0]") else schema
    return schema["x-kubernetes-validations"]


def sentences(schema: dict[str, Any]) -> list[str]:
    """Sentences of all rules in a schema that hold for an object by itself."""
    here = [rule["message"] for rule in schema.get("x-kubernetes-validations", []) if "oldSelf" not in rule["rule"]]
    inside = [*schema.get("properties", {}).values()]
    inside += [schema[keyword] for keyword in ("items", "additionalProperties") if keyword in schema]
    return here + [sentence for field in inside for sentence in sentences(field)]


@pytest.mark.parametrize(("path", "spec", "sentence"), BROKEN)
def test_the_types_refuse_with_the_sentence_of_the_api_server(path, spec, sentence):
    with pytest.raises(InvalidInput) as refusal:
        ArcFaceTrainingJob.from_json(json.dumps(job_document(**spec)), "job.yaml")
    assert str(refusal.value) == f"job.yaml: {path}: {sentence}"
    assert sentence in [rule["message"] for rule in rules_at(path)]


@pytest.mark.parametrize("name", ["Quick", "1st", "ends-", "under_score", "a" * 55, ""])
def test_a_name_that_pods_cannot_carry_is_refused(name):
    with pytest.raises(InvalidInput, match=r"metadata\.name"):
        ArcFaceTrainingJob.from_json(json.dumps(job_document(name)), "job.yaml")


def test_every_rule_of_the_api_server_is_tried_here():
    tried = {case.values[2] for case in BROKEN} | {rules_at("")[0]["message"]}
    assert set(sentences(job_schema())) == tried


def test_all_of_the_spec_but_three_fields_is_unchangeable():
    transitions = [rule for rule in rules_at("spec") if "oldSelf" in rule["rule"]]
    fields = {rule["message"].removeprefix("spec.").split()[0] for rule in transitions}
    assert fields == job_schema()["properties"]["spec"]["properties"].keys() - {"suspend", "runPolicy", "evaluation"}


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ("model", "self.model == oldSelf.model"),
        (
            "image",
            "has(self.image) == has(oldSelf.image) && (!has(self.image) || self.image == oldSelf.image)",
        ),
    ],
)
def test_fields_that_may_be_absent_are_asked_for_before_they_are_read(field, rule):
    sentence = f"spec.{field} cannot be changed after creation: create another job"
    assert {"message": sentence, "rule": rule} in rules_at("spec")
