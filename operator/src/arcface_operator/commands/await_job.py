"""`arcface await`: until a job is in a phase, which is what `helm test` asks of a release."""

import asyncio
from typing import get_args

import click

from arcface_api.errors import ArcFaceError
from arcface_api.names import API_VERSION, PLURAL
from arcface_api.resource.status import Phase
from arcface_operator.kubernetes import client, credentials

POLL_SECONDS = 0.5
UNTOUCHED = "nobody has acted on it"


@click.command("await")
@click.argument("job")
@click.option("--namespace", default="default", show_default=True, help="Where the job is.")
@click.option("--phase", type=click.Choice(get_args(Phase)), default="Succeeded", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0), default=120, show_default=True, help="Longest time to wait.")
def await_job(job: str, namespace: str, phase: str, seconds: float) -> None:
    """Wait until JOB is in a phase, by the API server of this pod or of KUBECONFIG."""
    asyncio.run(_await(client.JobRef(namespace, job), phase, seconds))
    click.echo(f"{namespace}/{job}: {phase}")


async def _await(job: client.JobRef, phase: str, seconds: float) -> None:
    """Look at the job now and then.

    Raises:
        ArcFaceError: where it is not in the phase in time; with what was last seen of it.
    """
    seen = UNTOUCHED
    try:
        async with asyncio.timeout(seconds), credentials.open_client() as connection:
            while (seen := await state_of(job, client.Api(connection))) != phase:
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        remedy = "see `kubectl get arcfacejobs -A` and the operator's log"
        raise ArcFaceError(f"{job}: {seen}, and is not {phase} after {seconds:g} s; {remedy}") from None


async def state_of(job: client.JobRef, api: client.Api) -> str:
    """The job's phase, or why it has none; asked for by the right to list, which the operator's account has."""
    jobs = client.collection(API_VERSION, PLURAL, job.namespace)
    try:
        found = await api.get(jobs, {"fieldSelector": f"metadata.name={job.name}"})
    except (client.ApiError, client.Unreachable) as error:
        return str(error)
    if not found.get("items"):
        return "there is no such job"
    return str((found["items"][0].get("status") or {}).get("phase") or UNTOUCHED)
