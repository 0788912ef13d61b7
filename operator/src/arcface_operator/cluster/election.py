"""Leader election by a Lease of coordination.k8s.io: of several replicas one acts.

The election itself is the official client's. Added here: an API server that cannot be reached is one that could not be
asked, not the end of the process; and a leader that leaves hands over at once instead of letting the Lease run out.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from arcface_operator.cluster.api import Api, ApiError, Unreachable, collection

LOG = logging.getLogger(__name__)
LEASE_NAME = "arcface-operator"
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15, 10, 2
"""As the controllers of Kubernetes: the others take over 15 s after the last sign of the leader."""


class PatientLock(LeaseLock):
    """A Lease whose API server may be away for a while."""

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """The record, or why there is none."""
        try:
            found: tuple[bool, Any] = await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=str(error))
        return found

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """Whether the Lease could be created."""
        return await attempt(super().create(name, namespace, election_record))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        """Whether the Lease could be renewed."""
        return await attempt(super().update(name, namespace, updated_record))


async def attempt(request: Coroutine[Any, Any, bool]) -> bool:
    """Outcome of a request, False where nobody answered."""
    try:
        return await request
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def lead(client: ApiClient, api: Api, namespace: str, identity: str, work: Callable[[], Awaitable[None]]) -> None:
    """Wait to become the leader, then work until the work ends, fails or the leadership is lost."""
    lock = PatientLock(LEASE_NAME, namespace, identity, client)
    leading = asyncio.Event()

    async def started() -> None:
        leading.set()

    async def stopped() -> None:
        """The end of the election is noticed by its task."""

    config = Config(lock, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, started, stopped)
    election = asyncio.create_task(LeaderElection(config).run(), name="leader election")
    try:
        await first_of(election, asyncio.create_task(leading.wait()))
        LOG.info("%s leads", identity)
        await first_of(election, asyncio.ensure_future(work()))
        if election.done():
            LOG.error("the leadership is lost: %s did not renew its Lease in time", identity)
    finally:
        election.cancel()
        with contextlib.suppress(asyncio.CancelledError, ApiError, Unreachable):
            await election
        if leading.is_set():
            await release(api, namespace, identity)


async def first_of(election: asyncio.Task[None], other: "asyncio.Future[Any]") -> None:
    """Until one of them is done; the other is cancelled unless it is the election."""
    await asyncio.wait({election, other}, return_when=asyncio.FIRST_COMPLETED)
    if other.done():
        other.result()
        return
    other.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await other


async def release(api: Api, namespace: str, identity: str) -> None:
    """Leave the Lease to whoever comes first, if it is still ours."""
    path = f"{collection('coordination.k8s.io/v1', 'leases', namespace)}/{LEASE_NAME}"
    with contextlib.suppress(ApiError, Unreachable):
        lease = await api.get(path)
        if lease["spec"].get("holderIdentity") == identity:
            lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
            await api.replace(path, lease)
