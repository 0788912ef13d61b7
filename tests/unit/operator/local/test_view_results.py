import io

from rich.console import Console

from arcface_api.contract.reports import EvaluatorReport
from arcface_api.resource.status import GateResult, IjbResult, PairResult
from arcface_operator.decision.policies.gates import missed
from arcface_operator.local.view import results_table

REPORT = EvaluatorReport(
    results=[
        PairResult(dataset="lfw", accuracy=0.998166, std=0.002734, pairs=6000),
        PairResult(dataset="cfp_fp", accuracy=0.98, std=0.01, pairs=7000),
    ],
    ijb=[IjbResult(dataset="IJBC", tar_at_far={"1e-5": 0.91, "1e-4": 0.9587})],
)
GATES = [
    GateResult(metric="lfw.accuracy", min=0.999, value=0.998166, passed=False),
    GateResult(metric="IJBC.tar@1e-4", min=0.95, value=0.9587, passed=True),
    GateResult(metric="IJBC.tar@1e-6", min=0.5, value=None, passed=False),
]


def cells(report: EvaluatorReport, gates: list[GateResult]) -> list[list[str]]:
    output = io.StringIO()
    Console(file=output, width=120).print(results_table(report, gates))
    rows = [line for line in output.getvalue().splitlines() if "│" in line]
    return [[cell.strip() for cell in row.strip().strip("│").split("│")] for row in rows]


def test_every_set_and_every_other_gate_has_a_row() -> None:
    assert cells(REPORT, GATES) == [
        ["lfw", "0.99817", "0.00273", "6000", "failed (>= 0.999)"],
        ["cfp_fp", "0.98000", "0.01000", "7000", ""],
        ["IJBC.tar@1e-5", "0.91000", "", "", ""],
        ["IJBC.tar@1e-4", "0.95870", "", "", "passed (>= 0.95)"],
        ["IJBC.tar@1e-6", "", "", "", "failed (>= 0.5)"],
    ]


def test_missed_gates_are_told_with_the_figure_and_the_need() -> None:
    assert missed(GATES) == "gate lfw.accuracy: 0.99817, needs 0.999; gate IJBC.tar@1e-6: not measured, needs 0.5"
    assert missed(GATES[1:2]) == ""
