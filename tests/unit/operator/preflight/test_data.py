"""Whether there is enough to train on, and whether what a job names can be evaluated."""

from pathlib import Path

import pytest

from arcface_api.errors import InvalidInput
from arcface_operator.preflight.data import Counts, check_evaluation_sets, steps_per_epoch
from support.builders.ijb_release import write_release
from support.builders.jobs import make_job


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
