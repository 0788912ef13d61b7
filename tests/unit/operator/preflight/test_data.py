"""Whether there is enough to train on, and whether what a job names can be evaluated."""

from pathlib import Path

import pytest

from arcface_api.errors import InvalidInput
from arcface_operator.preflight.data import Counts, check_evaluation_sets, steps_per_epoch
from support.builders.ijb_release import write_release
from support.builders.jobs import make_job
from support.builders.verification_set import write_pairs


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        pytest.param(
            Counts(identities=1, images=5000), "spec.data: 1 identities with at least 1 images", id="one identity"
        ),
        pytest.param(
            Counts(identities=20, images=5000),
            "spec.workers: 30 ranks share 20 identities",
            id="more ranks than identities",
        ),
        pytest.param(
            Counts(identities=30, images=127),
            "spec.data: 127 images do not fill one batch of 3840",
            id="few images",
        ),
    ],
)
def test_too_little_data_is_refused(counts: Counts, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        steps_per_epoch(make_job(workers={"accelerator": "cpu", "replicas": 30}).spec, counts)
    assert str(caught.value).startswith(message)


def test_a_template_set_has_its_folders_name(tmp_path: Path) -> None:
    """As the evaluator demands in the end, in its words."""
    evaluation = make_job(evaluation={"claimName": "sets", "sets": [], "ijb": ["Mine"]}).spec.evaluation
    assert evaluation is not None
    folder = write_release(tmp_path, "Mine")
    for file in (folder / "meta").iterdir():
        file.rename(file.with_name(file.name.replace("Mine", "mine")))
    with pytest.raises(InvalidInput) as refused:
        check_evaluation_sets(evaluation, {"sets": tmp_path})
    assert str(refused.value) == (
        f"spec.evaluation.ijb: {folder}: its files are those of mine; call the folder so, here and in ijb"
    )


@pytest.mark.parametrize(
    ("sets", "ijb", "metric", "said"),
    [
        pytest.param(
            ["own"],
            [],
            "own.Martian.accuracy",
            "spec.evaluation.sets: gate own.Martian.accuracy can never be measured: there is no group Martian; "
            "correct the gate or the set",
            id="group",
        ),
        pytest.param(
            [],
            ["IJBC"],
            "IJBC.tar@1e-4",
            "spec.evaluation.ijb: gate IJBC.tar@1e-4 can never be measured: it takes 10000 pairs of two persons, and "
            "there are 264; correct the gate or the set",
            id="rate",
        ),
    ],
)
def test_gates_that_the_sets_cannot_tell_are_refused(
    tmp_path: Path, sets: list[str], ijb: list[str], metric: str, said: str
) -> None:
    write_pairs(tmp_path / "own.bin", pairs=20)
    write_release(tmp_path, "IJBC")
    gates = [{"metric": metric, "min": 0.9}]
    wish = {"claimName": "sets", "sets": sets, "ijb": ijb, "gates": gates}
    evaluation = make_job(evaluation=wish).spec.evaluation
    assert evaluation is not None
    with pytest.raises(InvalidInput) as refused:
        check_evaluation_sets(evaluation, {"sets": tmp_path})
    assert str(refused.value) == said
