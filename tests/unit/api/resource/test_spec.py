import pytest

from arcface_api.errors import InvalidInput
from arcface_api.resource import validation as rules
from support.builders.jobs import make_job

ASCEND = {"accelerator": "ascend"}


def refusal(**spec):
    with pytest.raises(InvalidInput) as refused:
        make_job(**spec)
    return str(refused.value).removeprefix("make_job: ")


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        pytest.param({"modle": {}}, "spec.modle", id="spec"),
        pytest.param({"training": {"optimizer": {"lr": 0.1}}}, "spec.training.optimizer.lr", id="deep"),
        pytest.param(
            {"evaluation": {"claimName": "faces", "gates": [{"metric": "lfw.accuracy", "min": 0.5, "most": 1}]}},
            "spec.evaluation.gates[0].most",
            id="in a list",
        ),
    ],
)
def test_an_unknown_field_is_named_by_its_path(spec, path):
    assert refusal(**spec) == f"{path}: unknown field"


def test_a_missing_claim_is_named():
    assert refusal(evaluation={}) == "spec.evaluation.claimName: required field is missing"


def test_all_faults_are_told_at_once():
    assert refusal(training={"epochs": 0, "seed": -1}).count("spec.training.") == 2


@pytest.mark.parametrize(
    "training",
    [{"epochs": "3"}, {"epochs": 3.5}, {"epochs": True}, {"epochs": 2**31}, {"clipNorm": "5"}, {"clipNorm": 0}],
)
def test_values_of_another_type_or_size_are_not_converted(training):
    assert refusal(training=training).startswith(f"spec.training.{next(iter(training))}: ")


def test_a_whole_number_stands_for_a_fraction_as_at_the_api_server():
    assert make_job(loss={"scale": 32}).spec.loss.scale == 32.0


@pytest.mark.parametrize("amount", [1, "500m", "1.5Gi", "2e3", "4", "100k"])
def test_quantities_of_kubernetes_are_accepted(amount):
    job = make_job(workers={"resources": {"limits": {"memory": amount}}})
    assert job.spec.workers.resources.limits == {"memory": amount}


@pytest.mark.parametrize("amount", [0.5, "", "1 Gi", "five", "-1", "1GiB", True])
def test_other_quantities_are_refused(amount):
    assert "spec.workers.resources.limits.memory" in refusal(workers={"resources": {"limits": {"memory": amount}}})


@pytest.mark.parametrize("path", ["/data", "/", "..", "../other", "a/../../b", "a/..", ".", "a/./b", "a//b"])
def test_a_path_in_a_claim_stays_below_it(path):
    assert refusal(data={"path": path}).startswith("spec.data.path: ")


@pytest.mark.parametrize("path", ["", "a", "a/b/", ".hidden", "..a/b...c", "faces_emore/112x112"])
def test_a_path_in_a_claim_may_have_dots_in_its_names(path):
    assert make_job(data={"path": path}).spec.data.path == path


@pytest.mark.parametrize(
    "metric",
    [
        "lfw",
        "lfw.f1",
        "IJBC.tar@1e-7",
        ".accuracy",
        "lfw.accuracy ",
        "lfw.tar@0.1",
        "lfw.fnmr@1.1",
        "lfw.fnmr",
        "lfw.fmr@.5",
    ],
)
def test_a_gate_is_a_figure_by_its_name(metric):
    gates = [{"metric": metric, "min": 0.5}]
    assert refusal(evaluation={"claimName": "faces", "gates": gates}).startswith("spec.evaluation.gates[0].metric: ")


@pytest.mark.parametrize(
    "metric",
    [
        *("lfw.accuracy", "lfw.eer", "lfw.auc", "lfw.tar@1e-3", "lfw.tar@2.5e-4", "lfw.fnmr@0.35", "lfw.fmr@-0.1"),
        *("lfw.African.accuracy", "lfw.African.fnmr@1.0"),
    ],
)
def test_a_gate_may_be_about_every_figure_of_a_set_and_of_its_groups(metric):
    gates = [{"metric": metric, "max": 0.5}]
    (gate,) = make_job(evaluation={"claimName": "faces", "gates": gates}).spec.evaluation.gates
    assert (gate.is_passed_by(0.5), gate.is_passed_by(0.51)) == (True, False)


def test_a_gate_may_have_both_bounds():
    gates = [{"metric": "lfw.eer", "min": 0.1, "max": 0.2}]
    (gate,) = make_job(evaluation={"claimName": "faces", "gates": gates}).spec.evaluation.gates
    assert [gate.is_passed_by(value) for value in (0.09, 0.1, 0.2, 0.21)] == [False, True, True, False]


@pytest.mark.parametrize("bounds", [{}, {"min": 0.6, "max": 0.5}])
def test_a_gate_needs_bounds_that_something_can_pass(bounds):
    said = refusal(evaluation={"claimName": "faces", "gates": [{"metric": "lfw.eer", **bounds}]})
    assert said == "spec.evaluation.gates[0]: a gate needs min, max or both, min not above max"


def test_a_template_set_of_ones_own_has_a_name_like_any_other_set_and_gates():
    gates = [{"metric": "TinyFace.tar@1e-4", "min": 0.5}]
    assert make_job(evaluation={"claimName": "faces", "ijb": ["TinyFace"], "gates": gates}).spec.evaluation.gates
    assert refusal(evaluation={"claimName": "faces", "ijb": ["../x"]}).startswith("spec.evaluation.ijb[0]: ")


@pytest.mark.parametrize("figure", ["eer", "auc", "fnmr@0.35", "fmr@-0.1", "tar@1e-1", "tar@2.5e-4"])
def test_of_a_template_set_a_gate_may_name_every_figure_of_its_curve(figure):
    gates = [{"metric": f"my.IJBC.{figure}", "min": 0.5}]
    assert make_job(evaluation={"claimName": "faces", "ijb": ["my.IJBC"], "gates": gates}).spec.evaluation.gates
    said = refusal(evaluation={"claimName": "faces", "ijb": ["IJBC", "my"], "gates": gates})
    assert said == f"spec.evaluation: {rules.GATES_ARE_ABOUT_SETS.message}"


@pytest.mark.parametrize("figure", ["accuracy", "African.eer", "African.accuracy"])
def test_a_template_set_has_no_accuracy_and_no_groups_to_gate(figure):
    gates = [{"metric": f"IJBC.{figure}", "min": 0.5}]
    said = refusal(evaluation={"claimName": "faces", "ijb": ["IJBC"], "gates": gates})
    assert said == f"spec.evaluation: {rules.GATES_ARE_ABOUT_SETS.message}"


def test_a_gate_may_be_about_a_set_with_dots_in_its_name():
    gates = [{"metric": "my.set.accuracy", "min": 0.5}]
    assert make_job(evaluation={"claimName": "faces", "sets": ["my.set"], "gates": gates}).spec.evaluation.gates


def test_learning_rate_is_a_tenth_at_1024_images_and_linear_in_the_total_batch():
    spec = make_job(training={"batchSize": 128}, workers={"replicas": 2, "devicesPerWorker": 4}).spec
    assert (spec.workers.world_size, spec.total_batch_size) == (8, 1024)
    assert spec.learning_rate == pytest.approx(0.1)
    assert make_job(training={"batchSize": 256}).spec.learning_rate == pytest.approx(0.025)
    assert make_job(training={"optimizer": {"learningRate": 0.3}}).spec.learning_rate == 0.3


def test_accumulation_splits_a_ranks_images_and_changes_neither_total_batch_nor_rate():
    workers = {"replicas": 2, "devicesPerWorker": 4}
    spec = make_job(training={"batchSize": 128, "gradientAccumulation": 4}, workers=workers).spec
    assert spec.training.micro_batch_size == 32
    assert (spec.total_batch_size, spec.learning_rate) == (1024, pytest.approx(0.1))


def test_precision_and_rendezvous_follow_the_accelerator():
    on_cpu, on_ascend = make_job().spec, make_job(workers=ASCEND).spec
    assert (on_cpu.precision, on_cpu.workers.effective_rendezvous) == ("fp32", "dynamic")
    assert (on_ascend.precision, on_ascend.workers.effective_rendezvous) == ("fp16", "rankTable")
    assert make_job(workers=ASCEND, training={"precision": "bf16"}).spec.precision == "bf16"
    assert make_job(workers={**ASCEND, "rendezvous": "dynamic"}).spec.workers.effective_rendezvous == "dynamic"


def test_absent_evaluation_means_none():
    assert make_job().spec.evaluation is None
    assert make_job(evaluation={"claimName": "faces"}).spec.evaluation.sets == [
        "lfw",
        "cfp_fp",
        "agedb_30",
        "calfw",
        "cplfw",
    ]
