"""`arcface await`: until a job is in a phase, which is what `helm test` asks of a release."""

import asyncio
from typing import Any, NamedTuple, get_args

import click

from arcface_api.errors import ArcFaceError
from arcface_api.names import API_VERSION, PLURAL
from arcface_api.resource.status import Phase
from arcface_operator.kubernetes import client, credentials

POLL_SECONDS = 0.5
LONGEST_SECONDS = 2**31 - 1
UNTOUCHED = "nobody has acted on it"
ENDS = {"Succeeded", "Failed"}


class State(NamedTuple):
    """What is seen of a job."""

    phase: str
    """Its phase, or why it has none."""
    why: str = ""
    """What keeps it there: reasons and messages of the conditions that say so."""

    def __str__(self) -> str:
        return f"{self.phase} ({self.why})" if self.why else self.phase


@click.command("await")
@click.argument("job")
@click.option("--namespace", default="default", show_default=True, help="Where the job is.")
@click.option("--phase", type=click.Choice(get_args(Phase)), default="Succeeded", show_default=True)
@click.option(
    "--seconds", type=click.IntRange(0, LONGEST_SECONDS), default=120, show_default=True, help="Longest time to wait."
)
def await_job(job: str, namespace: str, phase: str, seconds: int) -> None:
    """Wait until JOB is in a phase, by the API server of this pod or of KUBECONFIG."""
    asyncio.run(_await(client.JobRef(namespace, job), phase, seconds))
    click.echo(f"{namespace}/{job}: {phase}")


async def _await(job: client.JobRef, phase: str, seconds: int) -> None:
    """Look at the job now and then, and tell of what has changed.

    Raises:
        ArcFaceError: where it is not in the phase in time, or has ended in another; with what was last seen of it.
    """
    seen = State(UNTOUCHED)
    remedy = "see `kubectl get arcfacejobs -A` and the operator's log"
    try:
        async with asyncio.timeout(seconds), credentials.open_client() as connection:
            while (state := await state_of(job, client.Api(connection))).phase != phase:
                if state != seen:
                    seen = state
                    click.echo(f"{job}: {seen}", err=True)
                if seen.phase in ENDS:
                    raise ArcFaceError(f"{job}: {seen}, and will not be {phase}; {remedy}")
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise ArcFaceError(f"{job}: {seen}, and is not {phase} after {seconds:g} s; {remedy}") from None


async def state_of(job: client.JobRef, api: client.Api) -> State:
    """The job's state; asked for by the right to list, which the operator's account has."""
    jobs = client.collection(API_VERSION, PLURAL, job.namespace)
    try:
        found = await api.get(jobs, {"fieldSelector": f"metadata.name={job.name}"})
    except (client.ApiError, client.Unreachable) as error:
        return State(str(error))
    if not found.get("items"):
        return State("there is no such job")
    status = found["items"][0].get("status") or {}
    return State(str(status.get("phase") or UNTOUCHED), _why(status))


def _why(status: dict[str, Any]) -> str:
    """Reasons and messages of the conditions by which a job cannot run, is still starting, or has failed."""
    found = [each for each in status.get("conditions") or [] if _tells(each)]
    return ", ".join(f"{each.get('reason')}: {each.get('message')}" for each in found)


def _tells(condition: dict[str, Any]) -> bool:
    """Whether a condition keeps a job where it is: so does one of pods that start, and names images they lack."""
    truth = condition.get("status")
    is_starting = (truth, condition.get("reason")) == ("False", "Starting")
    return is_starting or (condition.get("type"), truth) in {("Ready", "False"), ("Failed", "True")}
