"""`arcface operator`: what the operator's image runs."""

import asyncio
import json
import resource
from pathlib import Path

import click
import yaml

from arcface_api.errors import InvalidInput, explained
from arcface_operator.commands.log_lines import start_log
from arcface_operator.controller.operator import Options, run
from arcface_operator.preflight.job_file import JobLoader
from arcface_operator.settings import Settings

REMEDY = "give the operator's settings with --settings"
MOST_FILES = 65_536
"""Open at once: each job that trains holds a connection, and containerd 2 gives a container 1,024 unless it asks."""


@click.command()
@click.option("--namespace", "namespaces", multiple=True, help="Look for jobs here only; may be repeated.")
@click.option("--settings", "file", type=click.Path(path_type=Path), help="YAML file with the operator's settings.")
@click.option("--address", default="0.0.0.0", show_default=True, help="Address of probes and metrics.")  # noqa: S104
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=8080, show_default=True, help="Port of probes and metrics."
)
@click.option(
    "--leader-election/--no-leader-election", default=True, show_default=True, help="Whether replicas may run."
)
def operator(namespaces: tuple[str, ...], file: Path | None, address: str, port: int, leader_election: bool) -> None:  # noqa: FBT001
    """Run the operator: watch ArcFaceTrainingJobs and act on them.

    Credentials are the pod's own or those of KUBECONFIG. Probes are /healthz and /readyz, metrics are /metrics.
    """
    settings = _read_settings(file)
    start_log(settings)
    _allow_open_files()
    options = Options(namespaces=namespaces, address=address, port=port, has_election=leader_election)
    asyncio.run(run(settings, options))


def _allow_open_files() -> None:
    """Ask for as many open files as are wanted, or as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _read_settings(file: Path | None) -> Settings:
    """The settings in a file, or their defaults."""
    if file is None:
        return Settings()
    try:
        with explained(file, "cannot be read", REMEDY):
            content = file.read_text()
        # Without it 1e-3 is a text, and what PyYAML's constructors trip over is a traceback.
        text = json.dumps(JobLoader(content).get_single_data() or {})
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: cannot be read ({error}); {REMEDY}") from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise InvalidInput(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    return Settings.from_json(text, str(file))
