"""`arcface run` from the command to its last line, with a stand-in for trainer and evaluator."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from arcface_api.errors import InvalidInput
from arcface_operator.local.kubelet.orphans import marked
from arcface_operator.local.runner import LocalRun
from arcface_operator.preflight.data import is_installed
from arcface_operator.settings import Settings
from support.builders.jobs import job_document, make_job
from support.builders.small_png import write_small_set
from support.fakes.trainer_stand_in import (
    CRASH,
    CRASH_ONCE,
    DONE,
    ENDLESS,
    INVALID,
    SLOW_TO_SAVE,
    WARN,
    make_environment,
)
from support.waiting import wait_until


class Bench:
    """A folder with an environment, a job and its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = make_environment(folder / "venv")
        for name in ("faces", "sets"):
            (folder / name).mkdir()
        write_small_set(folder / "sets" / "lfw.bin")

    def start(self, seed: int, options: tuple[str, ...] = (), **spec: Any) -> "subprocess.Popen[str]":
        spec = {"workers": {"replicas": 2}, **spec, "training": {"seed": seed}}
        (self.folder / "job.yaml").write_text(yaml.safe_dump(job_document(**spec)))
        command = [self.python, "-c", "from arcface_api.command import main; main()", "run", "-f", "job.yaml"]
        volumes = ["--volume", "faces=faces", *(["--volume", "sets=sets"] if "evaluation" in spec else [])]
        return subprocess.Popen(
            [*command, *volumes, *options], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, seed: int, **spec: Any) -> tuple[int, str, list[str]]:
        with self.start(seed, **spec) as process:
            return self.finish(process)

    def finish(self, process: "subprocess.Popen[str]") -> tuple[int, str, list[str]]:
        output, messages = process.communicate(timeout=60)
        assert marked(self.pods) == []
        return process.returncode, output, messages.splitlines()

    @property
    def pods(self) -> Path:
        return self.folder / "work" / "quick" / "pods"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "work" / "quick" / "volumes" / "checkpoints" / "quick"

    def is_training(self) -> bool:
        return all((self.checkpoints / f"ready-{rank}").exists() for rank in (0, 1))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


EVALUATION = {"claimName": "sets", "sets": ["lfw"]}


def test_a_job_without_evaluation_ends_with_its_paths(bench: Bench) -> None:
    code, output, messages = bench.run(DONE)
    assert code == 0
    assert output.splitlines() == [
        f"checkpoints: {bench.checkpoints}",
        f"logs: {bench.folder}/work/quick/logs",
        f"curves: arcface history {bench.checkpoints} --report {bench.folder}/work/quick/history",
    ]
    assert messages[0] == "training quick on 2 ranks in 2 pods"
    assert messages[-1] == "step 9/9, epoch 1, loss 2.5000"
    log = (bench.folder / "work" / "quick" / "logs" / "quick-worker-1-0.log").read_text()
    assert log.startswith("rank 1 meets the others at 127.")


def test_warnings_of_the_trainer_and_the_most_images_skipped_by_a_rank_are_told_once(bench: Bench) -> None:
    code, _, messages = bench.run(WARN)
    assert code == 0
    assert messages.count("warning: the loss is odd") == 1
    (skipped,) = [message for message in messages if "could not be used" in message and " 4; " in message]
    assert skipped.endswith("list them with 'arcface data verify'")


def test_results_are_shown_and_gates_passed(bench: Bench) -> None:
    gates = [{"metric": "lfw.accuracy", "min": 0.75}]
    code, output, messages = bench.run(DONE, evaluation={**EVALUATION, "gates": gates})
    assert code == 0
    assert "training is done; evaluating lfw" in messages
    (row,) = [line for line in output.splitlines() if "lfw" in line and "│" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    size = (bench.folder / "sets" / "lfw.bin").stat().st_size
    assert cells == ["lfw", "0.75000", "0.01000", str(size), "passed (>= 0.75)"]


def test_a_missed_gate_fails_the_run(bench: Bench) -> None:
    gates = [{"metric": "lfw.accuracy", "min": 0.9}]
    code, output, messages = bench.run(DONE, evaluation={**EVALUATION, "gates": gates})
    assert code == 1
    assert "0.75000" in output
    assert messages[-1] == "arcface run: gate lfw.accuracy: 0.75, needs >= 0.9"


def test_bad_input_ends_the_run_with_the_trainers_words(bench: Bench) -> None:
    code, output, messages = bench.run(INVALID)
    logs = bench.folder / "work" / "quick" / "logs"
    assert (code, output) == (2, "")
    assert messages[-1] in {
        f"arcface run: pod quick-worker-{index}: train.rec: is cut short; log: {logs}/quick-worker-{index}-0.log"
        for index in (0, 1)
    }


def test_crashes_are_retried_until_the_limit(bench: Bench) -> None:
    code, _, messages = bench.run(CRASH, runPolicy={"backoffLimit": 1})
    logs = bench.folder / "work" / "quick" / "logs"
    assert code == 1
    assert messages[-1] in {
        f"arcface run: backoffLimit 1 is used up: pod quick-worker-{index}: exit code 1: out of memory; "
        f"log: {logs}/quick-worker-{index}-1.log"
        for index in (0, 1)
    }
    (restart,) = [message for message in messages if message.startswith("attempt 1 follows: ")]
    assert restart.endswith("-0.log")


def test_a_crash_that_does_not_come_again_is_survived(bench: Bench) -> None:
    assert bench.run(CRASH_ONCE, workers={"replicas": 1})[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_where_it_saved(bench: Bench, number: signal.Signals) -> None:
    with bench.start(ENDLESS) as process:
        wait_until(bench.is_training)
        process.send_signal(number)
        code, _, messages = bench.finish(process)
    assert code == 143
    assert messages[-1] == "arcface run: saved at step 7; the same command resumes"


def test_progress_is_shown_while_the_job_runs(bench: Bench) -> None:
    with bench.start(ENDLESS) as process:
        assert process.stderr is not None
        lines: Callable[[], str] = process.stderr.readline
        assert lines() == "training quick on 2 ranks in 2 pods\n"
        assert lines() == "step 7/9, epoch 1, loss 2.5000\n"
        process.terminate()
        process.communicate(timeout=60)


def test_after_a_killed_run_the_same_command_starts_anew(bench: Bench) -> None:
    with bench.start(ENDLESS) as process:
        wait_until(bench.is_training)
        process.kill()
        process.communicate(timeout=60)
    code, _, _ = bench.run(DONE)
    assert code == 0


def test_a_second_run_beside_the_first_is_refused(bench: Bench) -> None:
    with bench.start(ENDLESS) as first:
        wait_until(bench.is_training)
        with bench.start(ENDLESS) as second:
            _, messages = second.communicate(timeout=60)
        assert second.returncode == 2
        assert messages == ("arcface run: work/quick: in use by another run; stop that one or give another --workdir\n")
        first.terminate()
        assert bench.finish(first)[0] == 143


def test_a_run_elsewhere_on_the_same_checkpoints_is_refused_by_the_name_of_the_first(bench: Bench) -> None:
    with bench.start(ENDLESS) as first:
        wait_until(bench.is_training)
        second = bench.start(
            ENDLESS, options=("--workdir", "other", "--volume", f"checkpoints={bench.checkpoints.parent}")
        )
        with second:
            _, messages = second.communicate(timeout=60)
        assert second.returncode == 1
        assert messages == (
            f"arcface run: {bench.checkpoints}: in use by another run (process {first.pid} on {os.uname().nodename}, "
            f"--workdir {bench.folder}/work/quick), or its ranks still save; stop that one, or give the job another "
            "checkpoint.path\n"
        )
        assert list((bench.folder / "other" / "logs").iterdir()) == []
        first.terminate()
        assert bench.finish(first)[0] == 143
    code, _, _ = bench.run(DONE)
    assert code == 0


def test_ranks_of_a_killed_run_hold_the_checkpoints_while_they_save(bench: Bench) -> None:
    with bench.start(SLOW_TO_SAVE) as first:
        wait_until(bench.is_training)
        first.kill()
        first.communicate(timeout=60)
    elsewhere = ("--workdir", "other", "--volume", f"checkpoints={bench.checkpoints.parent}")
    with bench.start(DONE, options=elsewhere) as second:
        _, messages = second.communicate(timeout=60)
    assert (second.returncode, "or its ranks still save" in messages) == (1, True)
    (bench.checkpoints / "saved").touch()
    wait_until(lambda: marked(bench.pods) == [])
    with bench.start(DONE, options=elsewhere) as third:
        third.communicate(timeout=60)
    assert third.returncode == 0


def test_a_request_to_stop_while_an_earlier_run_still_saves_ends_the_new_one_at_once(bench: Bench) -> None:
    with bench.start(SLOW_TO_SAVE) as first:
        wait_until(bench.is_training)
        first.kill()
        first.communicate(timeout=60)
    with bench.start(DONE) as second:
        wait_until(lambda: is_locked(bench.folder / "work" / "quick" / "lock"))
        second.terminate()
        second.communicate(timeout=60)
    assert second.returncode in {143, -signal.SIGTERM}
    assert marked(bench.pods) != []
    (bench.checkpoints / "saved").touch()
    wait_until(lambda: marked(bench.pods) == [])


def is_locked(path: Path) -> bool:
    """Whether somebody holds a lock on a file."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.mark.skipif(not is_installed("evaluate"), reason="the evaluator is not installed here")
def test_a_bad_verification_set_ends_the_run_before_anything_is_made(bench: Bench) -> None:
    (bench.folder / "sets" / "lfw.bin").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    code, output, messages = bench.run(DONE, evaluation=EVALUATION)
    assert (code, output) == (2, "")
    assert messages == [
        f"arcface run: spec.evaluation.sets: {bench.folder}/sets/lfw.bin: byte 0: the pickle names 'os.system': "
        "refused, not executed"
    ]
    assert not (bench.folder / "work").exists()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param({"evaluation": {"claimName": "sets", "sets": ["cfp_fp"]}}, "has no cfp_fp.bin", id="missing set"),
        pytest.param(
            {"workers": {"template": {"spec": {"terminationGracePeriodSeconds": "long"}}}},
            "spec.workers.template: spec.terminationGracePeriodSeconds: ",
            id="template",
        ),
        pytest.param({"suspend": True}, "spec.suspend", id="suspended"),
    ],
)
def test_a_refused_job_leaves_no_trace(bench: Bench, spec: dict[str, Any], told: str) -> None:
    code, output, messages = bench.run(DONE, **spec)
    assert (code, output, len(messages)) == (2, "", 1)
    assert told in messages[0]
    assert not (bench.folder / "work").exists()


@pytest.mark.parametrize("inside", ["work", "work/quick", "work/quick/volumes"])
def test_a_file_where_a_folder_of_the_run_should_be_is_told_in_one_line(bench: Bench, inside: str) -> None:
    place = bench.folder / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("")
    code, output, messages = bench.run(DONE)
    assert (code, output, len(messages)) == (2, "", 1)
    assert messages[0].startswith("arcface run: ")
    assert " give " in messages[0]


ON_CARDS = {"training": {"precision": "fp32"}, "workers": {"accelerator": "ascend", "devicesPerWorker": 4}}


def test_a_machine_without_cards_is_told_before_anything_is_made(tmp_path: Path) -> None:
    claims = {name: tmp_path / name for name in ("faces", "checkpoints")}
    run = LocalRun(make_job(**ON_CARDS), Settings(), claims, root=tmp_path)
    with pytest.raises(InvalidInput, match="/dev/davinci_manager is missing"):
        run.run(tmp_path / "work", Console(), Console())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        pytest.param(ON_CARDS, 4, id="one pod"),
        pytest.param({**ON_CARDS, "workers": {**ON_CARDS["workers"], "replicas": 2}}, 8, id="two pods"),
        pytest.param(
            {**ON_CARDS, "evaluation": {**EVALUATION, "resources": {"limits": {"huawei.com/Ascend910": 6}}}},
            6,
            id="an evaluator with more",
        ),
        pytest.param(
            {
                "workers": {**ON_CARDS["workers"], "resourceName": "a2"},
                "evaluation": {**EVALUATION, "resources": {"limits": {"huawei.com/Ascend910": 6}}},
            },
            6,
            id="a device class, which is an operator's",
        ),
        pytest.param({"workers": {"replicas": 2, "accelerator": "cpu"}, "evaluation": EVALUATION}, 0, id="on CPU"),
    ],
)
def test_a_run_counts_the_cards_that_it_needs_at_once(spec: dict[str, Any], count: int) -> None:
    assert LocalRun(make_job(**spec), Settings(), {}).count_cards() == count
