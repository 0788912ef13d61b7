import pytest

from arcface_api.contract.reports import EvaluatorReport, GateFigures
from arcface_api.resource.spec import GateSpec
from arcface_api.resource.status import IjbResult, PairResult
from arcface_operator.decision.policies.gates import gate_results, missed

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


MEASURED = GateFigures.of({"lfw.eer": 0.012, "lfw.tar@1e-3": 0.99, "rfw.African.accuracy": None})


@pytest.mark.parametrize(
    ("metric", "most", "value", "passed"),
    [
        ("lfw.eer", 0.02, 0.012, True),
        ("lfw.eer", 0.012, 0.012, True),
        ("lfw.eer", 0.01, 0.012, False),
        ("rfw.African.accuracy", 1.0, None, False),
    ],
)
def test_a_gate_may_bound_what_should_be_small(metric, most, value, passed):
    metrics = ["lfw.eer", "lfw.tar@1e-3", "rfw.African.accuracy"]
    gates = [GateSpec(metric=name, max=most if name == metric else 1.0) for name in metrics]
    report = REPORT.model_copy(update={"figures": MEASURED})
    (result,) = (result for result in gate_results(gates, report) if result.metric == metric)
    assert (result.max, result.min, result.value, result.passed) == (most, 0.0, value, passed)


@pytest.mark.parametrize(
    ("value", "most", "told"),
    [(1.4e-6, 1e-6, 1.4e-6), (4.9e-7, 1e-7, 4.9e-7), (0.0050004, 0.005, 0.0050004), (1.23456789e-5, 1e-6, 1.23457e-5)],
)
def test_a_figure_is_judged_before_it_is_rounded(value: float, most: float, told: float) -> None:
    figures = GateFigures.from_json(GateFigures.of({"IJBC.fmr@0.4": value}).to_json(), "report")
    report = REPORT.model_copy(update={"figures": figures})
    (result,) = gate_results([GateSpec(metric="IJBC.fmr@0.4", max=most)], report)
    assert (result.value, result.passed) == (told, False)
    assert missed([result]) == f"gate IJBC.fmr@0.4: {told:g}, needs <= {most:g}"


def test_figures_of_other_gates_are_not_mistaken_for_those_of_today():
    report = REPORT.model_copy(update={"figures": MEASURED})
    gates = [GateSpec(metric=name, max=1.0) for name in ("lfw.auc", "lfw.tar@1e-3", "rfw.African.accuracy")]
    assert [result.value for result in gate_results(gates, report)] == [None, None, None]


def test_missed_bounds_are_told():
    gates = [GateSpec(metric=name, max=0.01, min=0.001) for name in ("lfw.eer", "lfw.tar@1e-3", "rfw.African.accuracy")]
    judged = gate_results(gates, REPORT.model_copy(update={"figures": MEASURED}))
    assert missed(judged[:1]) == "gate lfw.eer: 0.012, needs >= 0.001 and <= 0.01"


def test_gates_keep_their_order() -> None:
    gates = [GateSpec(metric="IJBC.tar@1e-4", min=0.9), GateSpec(metric="lfw.accuracy", min=0.9)]
    assert [gate.metric for gate in gate_results(gates, REPORT)] == ["IJBC.tar@1e-4", "lfw.accuracy"]
