import re
import textwrap
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, strategies as st

from arcface_api.errors import InvalidInput
from arcface_operator.preflight.job_file import SIZE_LIMIT, parse_job, read_job
from support.builders.jobs import job_document

JOB = yaml.safe_dump(job_document(training={"optimizer": {"weightDecay": 1}}))


def error_of(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_job(textwrap.dedent(text), "job.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def job_with(lines: str) -> str:
    head = "apiVersion: arcface.io/v1alpha1\nkind: ArcFaceTrainingJob\nmetadata: {name: quick}\nspec:\n"
    return (
        head + textwrap.indent("checkpoint: {claimName: checkpoints}\n" + textwrap.dedent(lines), "  ").rstrip() + "\n"
    )


def test_a_job_is_read_and_an_integer_serves_for_a_float(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    job = read_job(path)
    assert job.metadata.name == "quick"
    assert job.spec.training.optimizer.weight_decay == 1.0


def test_numbers_with_an_exponent_need_no_dot() -> None:
    job = parse_job(job_with("data: {claimName: d}\ntraining: {optimizer: {weightDecay: 5e-4}}"), "job.yaml")
    assert job.spec.training.optimizer.weight_decay == 0.0005


def test_a_date_stays_text() -> None:
    job = parse_job(job_with("data: {claimName: d, path: 2024-05-06}"), "job.yaml")
    assert job.spec.data.path == "2024-05-06"


def test_anchors_are_followed() -> None:
    job = parse_job(job_with("data: &claim {claimName: d}\nevaluation: {<<: *claim}"), "job.yaml")
    assert job.spec.evaluation is not None
    assert job.spec.evaluation.claim_name == "d"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param("data: {claimName: d, foo: 1}", "job.yaml: spec.data.foo: unknown field", id="unknown field"),
        pytest.param("data: {}", "job.yaml: spec.data.claimName: required field is missing", id="missing field"),
        pytest.param(
            "data: {claimName: d}\ntraining: {epochs: 2, schedule: {warmupEpochs: 2}}",
            "job.yaml: spec.training: schedule.warmupEpochs must be below epochs",
            id="rule over two fields",
        ),
        pytest.param(
            "data: {claimName: d}\nevaluation: {claimName: d, sets: [lfw, 7]}",
            "job.yaml: spec.evaluation.sets[1]: Input should be a valid string",
            id="item of a list",
        ),
        pytest.param(
            "data:\n  claimName: d\n  claimName: e",
            "job.yaml line 8: key 'claimName' stands twice; remove one",
            id="doubled key",
        ),
        pytest.param(
            "data: {claimName: d", "job.yaml line 7: expected ',' or '}', but got '<stream end>'", id="syntax"
        ),
        pytest.param(
            "data: !!python/name:os.system ''", "job.yaml line 6: no python/name:os.system; leave", id="python object"
        ),
    ],
)
def test_wrong_jobs_are_refused_with_their_place(lines: str, message: str) -> None:
    assert error_of(job_with(lines)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "job.yaml: is empty; it must be one ArcFaceTrainingJob", id="empty"),
        pytest.param("- a", "job.yaml: is not a map; it must be one ArcFaceTrainingJob", id="list"),
        pytest.param(
            f"{JOB}---\n{JOB}",
            f"job.yaml line {JOB.count(chr(10)) + 1}: a second document starts here; put each job into a file",
            id="two documents",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Pod",
            "job.yaml: apiVersion is 'v1'; it must be arcface.io/v1alpha1",
            id="other kind",
        ),
        pytest.param("kind: ArcFaceTrainingJob", "job.yaml: apiVersion is missing; it must be ", id="no version"),
        pytest.param(
            "apiVersion: arcface.io/v1alpha1\nkind: Pod",
            "job.yaml: kind is 'Pod'; it must be ArcFaceTrainingJob",
            id="kind of our group",
        ),
        pytest.param(JOB.replace("weightDecay: 1", "weightDecay: .nan"), "job.yaml: holds a value that JSON", id="nan"),
        pytest.param("a: &a [*a]", "job.yaml: grows beyond", id="alias to itself"),
        pytest.param("\x01", "job.yaml: not valid YAML: unacceptable character", id="control character"),
    ],
)
def test_other_documents_are_refused(text: str, message: str) -> None:
    assert error_of(text).startswith(message)


def test_aliases_do_not_grow_without_bounds() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert error_of("\n".join(levels)).startswith("job.yaml: grows beyond 10000 nodes")


@pytest.mark.parametrize(
    "text", ["[" * 5000, "[a," * 30 + "b," * 12_000, "- " * 500 + "a"], ids=["deep", "many", "list"]
)
def test_what_would_take_long_is_refused_as_it_is_read(text: str) -> None:
    begun = time.process_time()
    assert error_of(text).startswith("job.yaml line 1: more than 10000 values, or 32 within each other")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "value",
    ['!!int ""', "!!int x", "!!bool x", '!!float ""', "!!timestamp x", '!!int {=: ""}', "!!set {x}", "!!map [x]"],
)
def test_tags_say_nothing_that_the_value_does_not(value: str) -> None:
    """PyYAML's own constructors end in an IndexError, a KeyError, an AttributeError."""
    assert error_of(f"a: 1\nb: {value}").startswith("job.yaml line 2: no ")


def test_tags_that_fit_are_followed() -> None:
    job = parse_job(job_with("data: {claimName: !!str 7}\ntraining: {epochs: !!int 3}"), "job.yaml")
    assert (job.spec.data.claim_name, job.spec.training.epochs) == ("7", 3)


@pytest.mark.parametrize("text", ["1:30", "1:30.5", "1" + ":1" * 300 + ".0"])
def test_numbers_to_the_base_of_60_stay_text(text: str) -> None:
    """Kubernetes' YAML has none (kubernetes-sigs/yaml, goyaml.v2/README.md); PyYAML would read 90, or overflow."""
    assert parse_job(job_with(f"data: {{claimName: d, path: {text}}}"), "job.yaml").spec.data.path == text


@pytest.mark.parametrize("key", ["1", "on", "null", "[a]"])
def test_keys_are_text(key: str) -> None:
    """1 and 0x1, or on and true, would be one key of Python's, and the first of them lost."""
    assert re.match(r"job\.yaml line 2: key .* is no text; quote it", error_of(f"a:\n  {key}: b"))


NO_FILE = "cannot be read (No such file or directory): give the job's YAML file with -f"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(None, NO_FILE, id="no file"),
        pytest.param(b"\xff\xfe\xff", "byte 0 is not UTF-8; save the file as UTF-8 text", id="not text"),
        pytest.param(b"#" * (SIZE_LIMIT + 1), f"has more than {SIZE_LIMIT} bytes, which is no job", id="huge"),
    ],
)
def test_unreadable_files_are_refused_by_name(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "job.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InvalidInput) as caught:
        read_job(path)
    assert str(caught.value) == f"{path}: {message}"


@given(st.text(max_size=60))
def test_any_text_is_a_job_or_one_line_of_error(text: str) -> None:
    assert error_of(text).startswith("job.yaml")
