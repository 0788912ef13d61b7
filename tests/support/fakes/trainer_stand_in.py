"""An environment whose `arcface` plays trainer and evaluator in a second: the operator's tests need neither installed.

The job's seed chooses what the trainer does.
"""

import os
import sys
import sysconfig
from pathlib import Path

DONE, INVALID, ENDLESS, CRASH, CRASH_ONCE, WARN, SLOW_TO_SAVE = range(7)

SCRIPT = """#!{python}
import json, os, pathlib, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer

DONE, INVALID, ENDLESS, CRASH, CRASH_ONCE, WARN, SLOW_TO_SAVE = range(7)
command = sys.argv[1]
options = dict(zip(sys.argv[-4::2], sys.argv[-3::2]))
config = json.loads(pathlib.Path(options["--config"]).read_text())
log = pathlib.Path(options["--termination-log"])
now = "2026-01-01T00:00:00Z"
progress = dict(epoch=1, step=7, totalSteps=9, loss=2.5, updatedAt=now)
checkpoint = dict(path="step-00000007", step=7, savedAt=now, sha256="0" * 64)


def end(code, **report):
    log.write_text(json.dumps(report))
    sys.exit(code)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(progress=progress)).encode())

    def log_message(self, *_):
        pass


def address():
    file = os.environ.get("ARCFACE_SCHEDULER_FILE")
    while file and not pathlib.Path(file).read_text():
        time.sleep(0.01)
    return pathlib.Path(file).read_text() if file else os.environ["POD_IP"]


def train(seed, folder):
    print("rank", os.environ["MS_NODE_ID"], "meets the others at", address())
    folder.mkdir(parents=True, exist_ok=True)
    if seed == INVALID:
        end(2, failure=dict(reason="InvalidInput", message="train.rec: is cut short", exitCode=2))
    if os.environ["MS_NODE_ID"] == "0":
        start = dict(job="quick", worldSize=2, totalBatchSize=64, stepsPerEpoch=9, totalSteps=9)
        with (folder / "history.jsonl").open("a") as history:
            print(json.dumps(dict(stretch=str(os.getpid()), at=now, step=0, epoch=0.0, start=start)), file=history)
    if seed == CRASH or (seed == CRASH_ONCE and not (folder / "seen").exists()):
        (folder / "seen").touch()
        sys.exit("out of memory")
    if seed == SLOW_TO_SAVE:
        signal.signal(signal.SIGTERM, lambda *_: None)
        (folder / f"ready-{{os.environ['MS_NODE_ID']}}").touch()
        while not (folder / "saved").exists():
            time.sleep(0.01)
        end(143, progress=progress, checkpoint=checkpoint)
    if seed == ENDLESS:
        signal.signal(signal.SIGTERM, lambda *_: end(143, progress=progress, checkpoint=checkpoint))
        server = HTTPServer((os.environ["POD_IP"], config["metricsPort"]), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (folder / f"ready-{{os.environ['MS_NODE_ID']}}").touch()
        while True:
            signal.pause()
    if seed == WARN:
        told = dict(warnings=["the loss is odd"], skippedImages=3 + int(os.environ["MS_NODE_ID"]))
        end(0, progress=dict(progress, step=9), checkpoint=checkpoint, **told)
    end(0, progress=dict(progress, step=9), checkpoint=checkpoint)


if command == "train":
    train(config["training"]["seed"], pathlib.Path(config["checkpoint"]["directory"]))
sets = [pathlib.Path(config["evaluation"]["directory"]) / f"{{name}}.bin" for name in config["evaluation"]["sets"]]
end(0, results=[dict(dataset=path.stem, accuracy=0.75, std=0.01, pairs=path.stat().st_size) for path in sets])
"""


def make_environment(folder: Path) -> Path:
    """A virtual environment with this one's packages and the stand-in beside its Python; the Python's path."""
    packages = Path(sysconfig.get_path("purelib"))
    own = folder / "lib" / packages.parent.name / "site-packages"
    own.parent.mkdir(parents=True)
    own.symlink_to(packages)
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    (folder / "pyvenv.cfg").write_text(f"home = {Path(os.path.realpath(sys.executable)).parent}\n")
    command = folder / "bin" / "arcface"
    command.write_text(SCRIPT.format(python=python))
    command.chmod(0o755)
    return python
