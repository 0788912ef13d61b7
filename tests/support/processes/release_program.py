"""The process of a release: it has loaded the operator, forks one for each start, and speaks for the release's pods.

Run as a program, with that release first in PYTHONPATH: a JSON line in, a JSON line out, until its input ends.
"""

import importlib
import json
import os
import runpy
import signal
import sys
from importlib.resources import files

import yaml
from kubernetes.aio.config import kube_config

import arcface_operator
from arcface_api import command, parent_death
from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.reports import EvaluatorReport, TrainerReport, failure_from
from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import ArcFaceError
from arcface_api.resource.crd import custom_resource_definition
from arcface_operator.commands import operator as loaded
from arcface_operator.settings import Settings

AT = "2026-01-01T00:00:00Z"
SAVED, LAST = 70, 1400
STOPPED = {"reason": "Stopped", "message": "asked to stop", "exitCode": 143}
RESULT = {"dataset": "lfw", "accuracy": 0.998, "std": 0.003, "pairs": 6000}


def installation(_request):
    """What an installation of the release consists of beside its operator, and where its code lies."""
    return {
        "origin": arcface_operator.__file__,
        "definition": custom_resource_definition(),
        "rights": yaml.safe_load((files("arcface_operator.kubernetes") / "rbac.yaml").read_text()),
        "settings": [field.alias or name for name, field in Settings.model_fields.items()],
    }


def start(request):
    """Fork an operator; its process id."""
    ours = os.getpid()
    child = os.fork()
    if child:
        return child
    parent_death.follow_parent(ours, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for output in (1, 2):
        os.dup2(log, output)
    os.environ.update(request["variables"])
    importlib.reload(kube_config)  # it has asked for KUBECONFIG when it was loaded
    if "OPERATOR_CHANGES" in os.environ:
        runpy.run_path(os.environ["OPERATOR_CHANGES"])
    sys.argv = ["arcface", *request["arguments"]]
    return command.main()  # ends the process, as it does where it was not forked


def poll(request):
    """Exit status of an operator that was forked, None while it runs."""
    ended, status = os.waitpid(request["process"], os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def speak(request):
    """What the first container of a pod says, by its variables and the run configuration that is mounted into it."""
    try:
        identity = RankIdentity.from_environment(request["variables"])
        config = RunConfig.from_ours(request["config"], "run.json")
    except ArcFaceError as error:
        return {"refusal": TrainerReport(failure=failure_from(error)).to_json()}
    evaluated = {"checkpoint": f"{config.checkpoint.path}/step-{LAST:08d}", "results": [RESULT]}
    return {
        "live": trainer_report(identity, config, SAVED),
        "done": trainer_report(identity, config, LAST),
        "stopped": trainer_report(identity, config, SAVED, failure=STOPPED),
        "evaluated": EvaluatorReport.model_validate_json(json.dumps(evaluated)).signed(identity).to_json(),
    }


def trainer_report(identity, config, step, **more):
    """A report of rank 0 at a step after which it has saved."""
    progress = {"epoch": step // SAVED, "epochs": f"{step // SAVED}/20", "step": step, "totalSteps": LAST, "loss": 2.5}
    checkpoint = {"path": f"{config.checkpoint.path}/step-{step:08d}", "step": step, "savedAt": AT, "sha256": "a" * 64}
    if config.attempt:
        checkpoint["resumedFromStep"] = SAVED
    document = {"progress": {**progress, "updatedAt": AT}, "checkpoint": checkpoint, **more}
    return TrainerReport.model_validate_json(json.dumps(document)).signed(identity).to_json()


ANSWERS = {answer.__name__: answer for answer in (installation, start, poll, speak)}

if __name__ == "__main__":
    assert loaded.operator is not None
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(ANSWERS[asked.pop("what")](asked)) + "\n")
        sys.stdout.flush()
