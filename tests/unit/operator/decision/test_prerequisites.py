"""What has to be there before anything is taken: claims that fit, devices, a gang scheduler."""

from typing import Any

import pytest

from arcface_operator.decision.observation import ClaimView
from arcface_operator.decision.prerequisites import claims_of, unmet_prerequisites
from support.builders.jobs import make_job
from support.builders.views import ASCEND, make_prerequisites

RWX, RWO, ROX, RWOP = "ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany", "ReadWriteOncePod"
EVALUATION = {"claimName": "sets"}


def bound(*modes: str) -> ClaimView:
    return ClaimView("Bound", modes)


def found(job: Any = None, **around: Any) -> list[tuple[str, str]]:
    job = job or make_job(workers={"replicas": 2}, evaluation=EVALUATION)
    return [(item.reason, item.message) for item in unmet_prerequisites(job, make_prerequisites(**around))]


ASCEND_JOB = make_job(workers=ASCEND, evaluation=EVALUATION, training={"precision": "fp32"})
SINGLE = make_job(workers={"replicas": 1}, evaluation=EVALUATION)
VERIFIES = make_job(workers={"replicas": 2}, evaluation={**EVALUATION, "everyEpochs": 1})


def test_nothing_is_in_the_way_where_everything_is_there() -> None:
    assert found() == []
    assert found(ASCEND_JOB) == []


def test_claims_are_looked_at_once_with_all_fields_that_name_them() -> None:
    job = make_job(data={"claimName": "one"}, checkpoint={"claimName": "one"}, evaluation={"claimName": "two"})
    assert claims_of(job) == {
        "one": ["spec.data.claimName", "spec.checkpoint.claimName"],
        "two": ["spec.evaluation.claimName"],
    }
    assert list(claims_of(make_job())) == ["faces", "checkpoints"]
    job = make_job(model={"initFrom": {"claimName": "models"}})
    assert claims_of(job)["models"] == ["spec.model.initFrom.claimName"]


def test_a_missing_claim_is_named_with_its_fields_and_the_remedy() -> None:
    job = make_job(data={"claimName": "one"}, checkpoint={"claimName": "one"})
    assert found(job, one=None) == [
        (
            "ClaimMissing",
            "spec.data.claimName and spec.checkpoint.claimName: there is no PersistentVolumeClaim 'one'; create it",
        )
    ]


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        pytest.param(ClaimView("Pending", (RWX,)), "ClaimNotBound", id="pending"),
        pytest.param(ClaimView("Pending", (RWX,), waits_for_pod=True), None, id="waits for its first pod"),
        pytest.param(ClaimView("Lost", (RWX,)), "ClaimNotBound", id="lost"),
        pytest.param(ClaimView("Lost", (RWX,), waits_for_pod=True), "ClaimNotBound", id="lost, though it waited once"),
        pytest.param(ClaimView("Pending", (RWOP,), waits_for_pod=True), "ClaimAccess", id="waits, but for one pod"),
    ],
)
def test_a_claim_must_be_bound_or_wait_for_us(claim: ClaimView, reason: str | None) -> None:
    assert [item[0] for item in found(faces=claim)] == ([] if reason is None else [reason])


@pytest.mark.parametrize(
    ("job", "claims", "devices", "why"),
    [
        pytest.param(None, {"checkpoints": bound(ROX)}, (), "can only be read", id="checkpoints read-only"),
        pytest.param(
            SINGLE, {"checkpoints": bound(ROX)}, (), "can only be read", id="checkpoints of one pod read-only"
        ),
        pytest.param(None, {"checkpoints": bound(ROX, RWX)}, (), None, id="checkpoints both"),
        pytest.param(None, {"faces": bound(ROX)}, (), None, id="images read-only"),
        pytest.param(None, {"faces": bound(RWOP)}, (), "is for one pod", id="images for one pod"),
        pytest.param(SINGLE, {"faces": bound(RWOP), "checkpoints": bound(RWOP)}, (), None, id="one pod has them"),
        pytest.param(None, {"sets": bound(RWOP)}, (), None, id="sets for one pod, the evaluator"),
        pytest.param(ASCEND_JOB, {"sets": bound(RWO)}, (2,), None, id="sets for one node, the evaluator's"),
        pytest.param(VERIFIES, {"sets": bound(RWOP)}, (), "is for one pod", id="sets that all ranks verify"),
        pytest.param(None, {"checkpoints": bound(RWO)}, (), None, id="one node may do for CPU ranks"),
        pytest.param(ASCEND_JOB, {"checkpoints": bound(RWO)}, (4,), None, id="one node has all devices"),
        pytest.param(ASCEND_JOB, {"checkpoints": bound(RWO)}, (3, 3), "can be mounted on one node", id="checkpoints"),
        pytest.param(ASCEND_JOB, {"checkpoints": bound(RWO, ROX)}, (2,), "can be mounted on one node", id="and read"),
        pytest.param(ASCEND_JOB, {"faces": bound(RWO)}, (2,), "can be mounted on one node", id="images"),
        pytest.param(ASCEND_JOB, {"faces": bound(RWO, ROX)}, (2,), None, id="images are read everywhere"),
        pytest.param(ASCEND_JOB, {"checkpoints": bound(RWO)}, None, None, id="nodes are not ours to see"),
    ],
)
def test_access_modes_must_do_for_the_pods_that_mount(job: Any, claims: Any, devices: Any, why: str | None) -> None:
    reasons = found(job, devices=devices, **claims)
    if why is None:
        assert reasons == []
    else:
        ((reason, message),) = reasons
        (claim,) = claims
        assert reason == "ClaimAccess"
        assert f"claim {claim!r} {why}" in message


def test_one_claim_for_two_purposes_must_do_for_both() -> None:
    job = make_job(data={"claimName": "one"}, checkpoint={"claimName": "one"}, evaluation={"claimName": "one"})
    assert [item[0] for item in found(job, one=bound(ROX))] == ["ClaimAccess"]


@pytest.mark.parametrize("devices", [(8,), None])
def test_a_device_class_must_be_one_of_the_operators(devices: tuple[int, ...] | None) -> None:
    job = make_job(workers={**ASCEND, "resourceName": "a3"}, training={"precision": "fp32"})
    assert found(job, devices=devices) == [
        (
            "DeviceClassMissing",
            "spec.workers.resourceName: a3 is no device class of this operator; ask its administrator, or name a "
            "resource",
        )
    ]
    assert found(make_job(workers={"resourceName": "a3"}), devices=devices) == []


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        pytest.param((), "spec.workers.resourceName: no node offers huawei.com/Ascend910", id="none"),
        pytest.param((1, 1, 1), "spec.workers.devicesPerWorker: 2, the largest node has 1", id="too few on each"),
        pytest.param((1, 2), None, id="enough on one"),
        pytest.param(None, None, id="not ours to see"),
    ],
)
def test_some_node_must_have_the_devices_of_a_pod(devices: tuple[int, ...] | None, message: str | None) -> None:
    reasons = found(ASCEND_JOB, devices=devices)
    if message is None:
        assert reasons == []
    else:
        ((reason, text),) = reasons
        assert reason == "DevicesMissing"
        assert text.startswith(message)


def test_ranks_on_cpu_need_no_devices() -> None:
    assert found(devices=()) == []


def test_a_missing_gang_scheduler_is_named() -> None:
    job = make_job(scheduling={"gang": "volcano"})
    assert found(job, missing_kinds=("PodGroup of scheduling.volcano.sh/v1beta1",)) == [
        (
            "GangSchedulerMissing",
            "spec.scheduling.gang: volcano needs the resource PodGroup of scheduling.volcano.sh/v1beta1, "
            "which this cluster does not have; install volcano",
        )
    ]


def test_a_cluster_without_gangs_of_its_own_is_told_what_to_turn_on() -> None:
    job = make_job(scheduling={"gang": "native"})
    ((reason, sentence),) = found(job, missing_kinds=("PodGroup of scheduling.k8s.io/v1alpha2",))
    assert (reason, sentence.partition("; ")[2]) == (
        "GangSchedulerMissing",
        "have its administrator turn on GenericWorkload and GangScheduling (Kubernetes 1.36)",
    )


def test_all_that_is_in_the_way_is_told_at_once() -> None:
    reasons = found(ASCEND_JOB, devices=(), faces=None, checkpoints=ClaimView("Lost", ()), missing_kinds=("PodGroup",))
    assert [item[0] for item in reasons] == ["ClaimMissing", "ClaimNotBound", "DevicesMissing", "GangSchedulerMissing"]
