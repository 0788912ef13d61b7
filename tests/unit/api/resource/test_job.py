import json

import pytest

from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob, name_limit
from support.builders.jobs import job_document, make_job


@pytest.mark.parametrize(("replicas", "limit"), [(1, 54), (10, 54), (11, 53), (100, 53), (101, 52), (10_000, 51)])
def test_a_name_leaves_room_for_the_highest_worker(replicas, limit):
    assert name_limit(replicas) == limit
    assert len("a" * limit + f"-worker-{replicas - 1}") == 63


def test_the_longest_name_is_accepted_and_one_letter_more_is_refused():
    workers = {"replicas": 11}
    assert make_job("a" * 53, workers=workers).metadata.name == "a" * 53
    with pytest.raises(InvalidInput, match="stay within 63 characters"):
        make_job("a" * 54, workers=workers)


def test_the_evaluators_name_fits_too():
    assert len("a" * name_limit(1) + "-evaluate") <= 63


def test_metadata_of_the_api_server_is_kept_and_not_looked_at():
    document = job_document(uid="0a1b")
    document["metadata"] |= {"resourceVersion": "7", "managedFields": [{"manager": "kubectl"}], "labels": {"a": "b"}}
    job = ArcFaceTrainingJob.from_json(json.dumps(document), "job.yaml")
    assert (job.metadata.uid, job.metadata.namespace, job.metadata.labels) == ("0a1b", "default", {"a": "b"})


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param("kind", "Job", id="kind"), pytest.param("apiVersion", "arcface.io/v2", id="version")],
)
def test_another_kind_or_version_is_refused(field, value):
    with pytest.raises(InvalidInput, match=rf"^job\.yaml: {field}: "):
        ArcFaceTrainingJob.from_json(json.dumps({**job_document(), field: value}), "job.yaml")


def test_a_job_survives_the_way_through_json():
    job = make_job(evaluation={"claimName": "faces", "gates": [{"metric": "lfw.accuracy", "min": 0.9}]})
    assert ArcFaceTrainingJob.from_json(job.to_json(), "again") == job


@pytest.mark.parametrize(
    ("attempt", "pods"),
    [pytest.param(3, 2, id="the attempt of that size"), pytest.param(4, 4, id="one that knows nothing of it")],
)
def test_the_gang_of_an_attempt_may_be_smaller_and_its_total_batch_is_the_jobs(attempt, pods):
    status = {"attempt": attempt, "elastic": {"attempt": 3, "pods": 2, "changedAt": "2026-11-24T12:00:00Z"}}
    document = job_document(workers={"replicas": 4, "minReplicas": 1, "devicesPerWorker": 8}) | {"status": status}
    job = ArcFaceTrainingJob.from_json(json.dumps(document), "test")
    assert (job.gang.replicas, job.gang.world_size, job.spec.total_batch_size) == (pods, 8 * pods, 32 * 128)


def test_a_gang_is_elastic_where_it_may_lose_a_pod():
    sizes = [{"replicas": 4}, {"replicas": 4, "minReplicas": 4}, {"replicas": 4, "minReplicas": 3}]
    assert [make_job(workers=workers).spec.workers.is_elastic for workers in sizes] == [False, False, True]
