"""Services and ConfigMaps of a gang come back when somebody deletes them; changed ones are set right."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from arcface_api.contract.pod_environment import RANK_TABLE_ANNOTATION
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.decide import decide
from arcface_operator.decision.observation import ObjectView, Observation, view_object
from arcface_operator.decision.plan import Apply, Create, Plan
from arcface_operator.decision.rank_table import table_version
from arcface_operator.manifests.metadata import Manifest
from support.builders.jobs import make_job
from support.builders.views import ASCEND, NOW, SETTINGS, make_prerequisites
from support.decision_table import observation_in, status_in

UID = "1" * 8
RUNNING = ("Queued", "Starting", "Training")


def applied(plan: Plan) -> dict[str, Manifest]:
    return {
        action.manifest["metadata"]["name"]: action.manifest for action in plan.actions if isinstance(action, Apply)
    }


def gang(phase: Any, workers: Any) -> Observation:
    """A job in a phase, with its pods."""
    job = make_job(uid=UID, workers=workers, evaluation={"claimName": "faces"}, training={"precision": "fp32"})
    job = job.model_copy(update={"status": status_in(phase)})
    seen = observation_in("Training", job, {}) if phase in RUNNING else observation_in(phase, job, {})
    return replace(seen, pods=tuple(replace(pod, owner=UID) for pod in seen.pods))


def written(observed: Observation) -> dict[str, Manifest]:
    """What the operator writes for a gang, from nothing, as the API server keeps it."""
    plan = decide(replace(observed, objects=()), SETTINGS, NOW)
    return applied(plan)


def look(observed: Observation, objects: Sequence[Manifest]) -> set[str]:
    views = tuple(view_object(item) for item in objects)
    return set(applied(decide(replace(observed, objects=views), SETTINGS, NOW)))


def without(name: str) -> Callable[[dict[str, Manifest]], list[Manifest]]:
    return lambda objects: [item for key, item in objects.items() if key != name]


CPU = {"replicas": 2}


@pytest.mark.parametrize("phase", RUNNING)
def test_what_is_as_it_was_written_is_left_alone_and_what_is_deleted_comes_back(phase: Any) -> None:
    observed = gang(phase, CPU)
    objects = written(observed)
    assert set(objects) == {"quick", "quick-config"}
    assert look(observed, list(objects.values())) == set()
    for name in objects:
        assert look(observed, without(name)(objects)) == {name}


def test_the_evaluators_configuration_comes_back_and_no_service_of_the_training() -> None:
    observed = gang("Evaluating", CPU)
    assert set(written(observed)) == {"quick-config"}


def test_a_rank_table_comes_back_before_it_is_complete_and_after() -> None:
    starting = gang("Starting", ASCEND)
    objects = written(starting)
    assert set(objects) == {"quick", "quick-config", "rings-config-quick"}
    assert look(starting, list(objects.values())) == set()
    assert look(starting, without("rings-config-quick")(objects)) == {"rings-config-quick"}


CHANGES = {
    "the configuration": ("quick-config", lambda item: {**item, "data": {"run.json": "{}"}}),
    "the selector": ("quick", lambda item: {**item, "spec": {**item["spec"], "selector": {"app": "mine"}}}),
    "a port": ("quick", lambda item: {**item, "spec": {**item["spec"], "ports": []}}),
}


@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_what_somebody_has_changed_is_set_right(name: str, change: Callable[[Manifest], Manifest]) -> None:
    observed = gang("Training", CPU)
    objects = written(observed)
    assert look(observed, [change(item) if key == name else item for key, item in objects.items()]) == {name}


def test_what_the_api_server_and_others_add_changes_nothing() -> None:
    observed = gang("Training", CPU)
    objects = written(observed)
    service = objects["quick"]
    defaults = {"sessionAffinity": "None", "ipFamilies": ["IPv4"], "clusterIPs": ["None"], "type": "ClusterIP"}
    metadata = {**service["metadata"], "annotations": {**service["metadata"]["annotations"], "mesh.io/x": "y"}}
    ports = [*service["spec"]["ports"], {"name": "mesh", "port": 15090}]
    kept = {**service, "metadata": metadata, "spec": {**service["spec"], **defaults, "ports": ports}}
    config = objects["quick-config"]
    more = {**config, "data": {**config["data"], "more": "x"}}
    assert look(observed, [kept, more]) == set()


def test_what_an_older_release_has_written_stays() -> None:
    observed = gang("Training", CPU)
    old = [
        {**item, "metadata": {key: value for key, value in item["metadata"].items() if key != "annotations"}}
        for item in written(observed).values()
    ]
    assert look(observed, old) == set()


def test_what_belongs_to_somebody_else_is_not_ours() -> None:
    observed = gang("Training", CPU)
    views = tuple(ObjectView(name, "2" * 8, "") for name in ("quick", "quick-config"))
    assert set(applied(decide(replace(observed, objects=views), SETTINGS, NOW))) == {"quick", "quick-config"}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_nothing_is_made_anew_for_a_job_that_has_ended(phase: Any) -> None:
    assert written(gang(phase, CPU)) == {}


def test_nothing_is_done_where_objects_cannot_be_seen() -> None:
    assert applied(decide(gang("Training", CPU), SETTINGS, NOW)) == {}


def test_the_configuration_of_an_attempt_is_written_once_even_where_some_pods_are_still_to_be_made() -> None:
    """A newer release that goes on with the attempt has other defaults; the pods of one gang must not differ."""
    observed = gang("Queued", CPU)
    objects = written(observed)
    half = replace(observed, pods=observed.pods[:1])
    assert look(half, list(objects.values())) == {"quick"}
    before = status_in("Pending").model_copy(update={"attempt": 3})
    begun = replace(half, job=half.job.model_copy(update={"status": before}), pods=())
    begun = replace(begun, prerequisites=make_prerequisites())
    assert look(begun, list(objects.values())) == {"quick", "quick-config"}


def test_a_complete_rank_table_that_is_deleted_or_changed_is_assembled_again() -> None:
    observed = gang("Training", ASCEND)
    cards = [{"device_id": str(card), "device_ip": f"192.168.{101 + card}.2"} for card in range(2)]
    told = []
    for index, pod in enumerate(observed.pods):
        devices = [{**card, "device_ip": f"192.168.{101 + number}.{2 + index}"} for number, card in enumerate(cards)]
        text = json.dumps({"server_id": f"10.0.0.{11 + index}", "devices": devices})
        told.append(replace(pod, annotations={SETTINGS.device_annotation: text}))
    version = table_version(told, SETTINGS.device_annotation)
    told = [replace(pod, annotations={**pod.annotations, RANK_TABLE_ANNOTATION: version}) for pod in told]
    observed = replace(observed, pods=tuple(told))
    objects = written(observed)
    assert look(observed, list(objects.values())) == set()
    assert decide(replace(observed, objects=()), SETTINGS, NOW).status.phase == "Training"
    assert "completed" in objects["rings-config-quick"]["data"]["hccl.json"]
    assert look(observed, without("rings-config-quick")(objects)) == {"rings-config-quick"}
    changed = {**objects["rings-config-quick"], "data": {"hccl.json": "{}"}}
    assert look(observed, [*without("rings-config-quick")(objects), changed]) == {"rings-config-quick"}


def test_the_image_of_an_attempt_is_decided_once() -> None:
    """A newer release with another default image goes on with a gang that the one before has half made."""
    newer = SETTINGS.model_copy(update={"trainer_image": "trainer:next"})
    job = make_job(uid=UID, workers=CPU).model_copy(update={"status": status_in("Pending")})
    whole = observation_in("Pending", job, {})
    plan = decide(whole, SETTINGS, NOW)
    assert images(plan) == {SETTINGS.trainer_image}
    assert plan.status.image == told_image(plan) == SETTINGS.trainer_image
    half = replace(gang("Queued", CPU), job=job.model_copy(update={"status": plan.status}))
    plan = decide(replace(half, pods=half.pods[:1], objects=()), newer, NOW)
    assert images(plan) == {SETTINGS.trainer_image}
    assert told_image(plan) == SETTINGS.trainer_image
    begun = replace(whole, job=half.job.model_copy(update={"status": plan.status}))
    assert images(decide(begun, newer, NOW)) == {"trainer:next"}


EVERY = {"claimName": "faces", "path": "bins", "sets": ["lfw"], "everyEpochs": 1}
OTHER_WISHES = {
    "none": None,
    "no rounds": {**EVERY, "everyEpochs": None},
    "another claim": {**EVERY, "claimName": "sets", "path": "elsewhere"},
    "other sets": {**EVERY, "sets": ["agedb_30"], "everyEpochs": 2},
}


def verifying(wish: Any, status: Any) -> ArcFaceTrainingJob:
    job = make_job(uid=UID, workers=CPU, **({} if wish is None else {"evaluation": wish}))
    return job.model_copy(update={"status": status})


def sets_of(plan: Plan) -> tuple[set[str | None], Any]:
    """The claims with sets of the pods that are made, and what the configuration says of them."""
    volumes = [action.manifest["spec"]["volumes"] for action in plan.actions if isinstance(action, Create)]
    claims = {
        next((item["persistentVolumeClaim"]["claimName"] for item in found if item["name"] == "evaluation"), None)
        for found in volumes
    }
    told = json.loads(applied(plan)["quick-config"]["data"]["run.json"]).get("evaluation")
    is_told = told is not None and "everyEpochs" in told
    return claims, (told["directory"].rpartition("/")[2], told["sets"], told["everyEpochs"]) if is_told else None


@pytest.mark.parametrize("wish", OTHER_WISHES.values(), ids=OTHER_WISHES)
def test_what_the_ranks_of_an_attempt_verify_is_decided_once(wish: Any) -> None:
    """Whatever its user wishes for meanwhile: a pod that is made later would find no sets, which fails the job."""
    before, after = ({"faces"}, ("bins", ["lfw"], 1)), sets_of(begun(verifying(wish, status_in("Pending"))))
    plan = begun(verifying(EVERY, status_in("Pending")))
    assert sets_of(plan) == before
    half = replace(gang("Queued", CPU), job=verifying(wish, plan.status), objects=())
    half = replace(half, pods=half.pods[:1])
    assert sets_of(decide(half, SETTINGS, NOW)) == before
    assert sets_of(begun(half.job)) == after != before
    earlier = plan.status.model_copy(update={"verified": None})
    assert sets_of(decide(replace(half, job=verifying(wish, earlier)), SETTINGS, NOW)) == after


def test_a_configuration_that_is_deleted_comes_back_as_it_was_whatever_is_wished_for_meanwhile() -> None:
    plan = begun(verifying(EVERY, status_in("Pending")))
    config = applied(plan)["quick-config"]
    working = status_in("Training").model_copy(update={"verified": plan.status.verified, "image": plan.status.image})
    seen = replace(gang("Training", CPU), job=verifying(OTHER_WISHES["other sets"], working), objects=())
    again = applied(decide(seen, SETTINGS, NOW))["quick-config"]
    assert json.loads(again["data"]["run.json"])["evaluation"] == json.loads(config["data"]["run.json"])["evaluation"]


def begun(job: ArcFaceTrainingJob) -> Plan:
    """What begins an attempt."""
    return decide(observation_in("Pending", job, {}), SETTINGS, NOW)


def images(plan: Plan) -> set[str]:
    created = [action.manifest for action in plan.actions if isinstance(action, Create)]
    return {container["image"] for pod in created for container in pod["spec"]["containers"]}


def told_image(plan: Plan) -> str:
    return str(json.loads(applied(plan)["quick-config"]["data"]["run.json"])["image"])
