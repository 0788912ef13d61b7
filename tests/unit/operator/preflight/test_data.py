"""Whether there is enough to train on."""

import pytest

from arcface_api.errors import InvalidInput
from arcface_operator.preflight.data import Counts, steps_per_epoch
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
