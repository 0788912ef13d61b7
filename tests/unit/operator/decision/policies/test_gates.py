import pytest

from arcface_api.contract.reports import EvaluatorReport
from arcface_api.resource.spec import GateSpec
from arcface_api.resource.status import IjbResult, PairResult
from arcface_operator.decision.policies.gates import gate_results

REPORT = EvaluatorReport(
    results=[
        PairResult(dataset="lfw", accuracy=0.99817, std=0.00273, pairs=6000),
        PairResult(dataset="a.b", accuracy=0.5, std=0.0, pairs=10),
    ],
    ijb=[IjbResult(dataset="IJBC", tar_at_far={"1e-4": 0.9587, "1e-5": 0.93})],
)


@pytest.mark.parametrize(
    ("metric", "least", "value", "passed"),
    [
        pytest.param("lfw.accuracy", 0.998, 0.99817, True, id="above"),
        pytest.param("lfw.accuracy", 0.99817, 0.99817, True, id="equal passes"),
        pytest.param("lfw.accuracy", 0.99818, 0.99817, False, id="below"),
        pytest.param("a.b.accuracy", 0.6, 0.5, False, id="set with a dot"),
        pytest.param("IJBC.tar@1e-4", 0.95, 0.9587, True, id="tar"),
        pytest.param("IJBC.tar@1e-6", 0.0, None, False, id="far not measured"),
        pytest.param("cfp_fp.accuracy", 0.0, None, False, id="set not measured"),
    ],
)
def test_gate(metric: str, least: float, value: float | None, passed: bool) -> None:
    (result,) = gate_results([GateSpec(metric=metric, min=least)], REPORT)
    assert (result.metric, result.min, result.value, result.passed) == (metric, least, value, passed)


def test_gates_keep_their_order() -> None:
    gates = [GateSpec(metric="IJBC.tar@1e-4", min=0.9), GateSpec(metric="lfw.accuracy", min=0.9)]
    assert [gate.metric for gate in gate_results(gates, REPORT)] == ["IJBC.tar@1e-4", "lfw.accuracy"]
