"""`arcface operator`: what the operator's image runs."""

import asyncio
import json
from pathlib import Path

import click
import yaml

from arcface_api.errors import InvalidInput, explained
from arcface_operator.commands.log_lines import start_log
from arcface_operator.controller.operator import Options, run
from arcface_operator.settings import Settings

REMEDY = "give the operator's settings with --settings"


@click.command()
@click.option("--namespace", "namespaces", multiple=True, help="Look for jobs here only; may be repeated.")
@click.option("--settings", "file", type=click.Path(path_type=Path), help="YAML file with the operator's settings.")
@click.option("--address", default="0.0.0.0", show_default=True, help="Address of probes and metrics.")  # noqa: S104
@click.option("--port", default=8080, show_default=True, help="Port of probes and metrics.")
@click.option(
    "--leader-election/--no-leader-election", default=True, show_default=True, help="Whether replicas may run."
)
def operator(namespaces: tuple[str, ...], file: Path | None, address: str, port: int, leader_election: bool) -> None:  # noqa: FBT001
    """Run the operator: watch ArcFaceTrainingJobs and act on them.

    Credentials are the pod's own or those of KUBECONFIG. Probes are /healthz and /readyz, metrics are /metrics.
    """
    settings = _read_settings(file)
    start_log(settings)
    options = Options(namespaces=namespaces, address=address, port=port, has_election=leader_election)
    asyncio.run(run(settings, options))


def _read_settings(file: Path | None) -> Settings:
    """The settings in a file, or their defaults."""
    if file is None:
        return Settings()
    try:
        with explained(file, "cannot be read", REMEDY):
            content = file.read_text()
        text = json.dumps(yaml.safe_load(content) or {})
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file}: cannot be read ({error}); {REMEDY}") from None
    except (yaml.YAMLError, TypeError) as error:
        raise InvalidInput(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    return Settings.from_json(text, str(file))
