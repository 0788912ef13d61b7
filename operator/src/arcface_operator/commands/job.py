"""Commands for a job on this machine: run, validate, plan."""

from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from arcface_api import unsupported
from arcface_api.errors import InvalidInput
from arcface_api.resource.job import ArcFaceTrainingJob
from arcface_operator.decision.prerequisites import claims_of
from arcface_operator.local import runner
from arcface_operator.local.kubelet.directories import bind_claims, parse_volumes
from arcface_operator.manifests import rank_table_size, rank_variables
from arcface_operator.preflight import data, estimate, init_from, job_file, plan_text, spec_checks
from arcface_operator.settings import Settings

MOST = 2**31 - 1
"""Identities and images of a job."""
file_option = click.option(
    "-f", "--file", required=True, type=click.Path(path_type=Path), help="YAML file with one ArcFaceTrainingJob."
)
volume_option = click.option(
    "--volume",
    "volumes",
    multiple=True,
    metavar="CLAIM=DIR",
    help="Directory that stands for a claim; may be repeated.",
)


@click.command()
@file_option
@volume_option
@click.option(
    "--workdir", type=click.Path(path_type=Path), help="Logs and volumes of the run; ./work/<job name> unless given."
)
def run(file: Path, volumes: tuple[str, ...], workdir: Path | None) -> None:
    """Run a job on this machine: train, then evaluate.

    The pods of the cluster run as processes here. Ctrl-C saves and stops; the same command resumes.
    """
    job = job_file.read_job(file)
    given = parse_volumes(volumes, job)
    directory = workdir or Path("work") / job.metadata.name
    local = runner.LocalRun(job, runner.ON_THIS_MACHINE, bind_claims(job, given, directory))
    local.run(directory, Console(), Console(stderr=True))


@click.command()
@file_option
@volume_option
def validate(file: Path, volumes: tuple[str, ...]) -> None:
    """Check a job before anything is taken: its fields and, with --volume, its data."""
    job, counts = _checked(file, volumes)
    click.echo(f"{file}: {job.metadata.name} is valid" if counts is None else _valid_with_data(file, job, counts))
    if (sentence := unsupported.doubtful_precision(job.spec.workers, job.spec.precision)) is not None:
        click.echo(f"spec.{sentence}")


@click.command()
@file_option
@volume_option
@click.option("--identities", type=click.IntRange(2, MOST), help="Identities to train on, where no data is at hand.")
@click.option("--images", type=click.IntRange(1, MOST), help="Images to train on, where no data is at hand.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")
def plan(file: Path, volumes: tuple[str, ...], identities: int | None, images: int | None, *, as_json: bool) -> None:
    """Print what a run needs: steps, first loss, memory of cards and nodes, traffic, storage.

    A job that `arcface validate` refuses is refused here, too.
    """
    job, counts = _checked(file, volumes)
    if counts is None:
        if identities is None or images is None:
            claim = job.spec.data.claim_name
            raise InvalidInput(f"how much data is unknown; give --volume {claim}=DIR, or --identities and --images")
        counts = data.Counts(identities, images)
    found = estimate.estimate(job.spec, counts)
    click.echo(found.to_json() if as_json else plan_text.plan_text(found))


def _checked(file: Path, volumes: tuple[str, ...]) -> tuple[ArcFaceTrainingJob, data.Counts | None]:
    """A job that this release can carry out, and what there is to train on; None where that is not at hand.

    Raises:
        InvalidInput: naming the field, where job, data or verification sets cannot be used.
    """
    job = job_file.read_job(file)
    given = parse_volumes(volumes, job)
    _check_spec(job, given)
    init_from.check_init_from(job.spec.model, given)
    if job.spec.evaluation is not None:
        data.check_evaluation_sets(job.spec.evaluation, given)
    return job, data.count_data(job.spec, given)


def _check_spec(job: ArcFaceTrainingJob, given: Mapping[str, Path]) -> None:
    """Refuse what this release cannot do, and templates that make no pod or, on CPU, no process."""
    if sentences := spec_checks.unsupported(job.spec):
        raise InvalidInput("; ".join(sentences))
    if (sentence := rank_table_size.too_large_rank_table(job.spec)) is not None:
        raise InvalidInput(sentence)
    spec_checks.check_templates(job)
    if rank_variables.has_rank_table(job):  # made for a cluster, where a template may have more than a process can
        runner.worker_pods(job, 0, Settings())
        runner.evaluator_pods(job, Settings())
    else:
        runner.check_pods(job, {claim: given.get(claim, Path("/", claim)) for claim in claims_of(job)}, Settings())


def _valid_with_data(file: Path, job: ArcFaceTrainingJob, counts: data.Counts) -> str:
    """The good news with its figures."""
    found = estimate.estimate(job.spec, counts)
    of_cards = f"about {plan_text.size(found.memory.total)} of its card a rank, " if found.cards else ""
    return (
        f"{file}: {job.metadata.name} is valid: {counts.images:,} images of {counts.identities:,} identities, "
        f"{found.total_steps:,} steps, {of_cards}at least {plan_text.size(found.host.total)} for pod 0 on its node"
    )
