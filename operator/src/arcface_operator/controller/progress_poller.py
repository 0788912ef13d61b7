"""Asking gangs' first pods for their progress, beside everything else, since a pod may answer slowly, or never."""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from arcface_api.contract import pod_environment, reports
from arcface_operator.decision.answers.sighting import Reach, Sighting
from arcface_operator.kubernetes.client import JobRef

TIMEOUT_SECONDS = 2.0
"""For the whole answer."""
CONNECT_SECONDS = 1.5
"""Of these for the connection, in which a lost packet is sent again once: what takes longer is no answer's fault."""
SIZE_LIMIT = 1 << 16
"""Bytes of an answer; a report has a few hundred."""
IN_FLIGHT = 64
SUCCESS = range(200, 300)
NO_ROUTE = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EACCES, errno.EPERM}
)
"""Errors of a connection: ICMP of a router or firewall, or a rule of the operator's own node."""

Report = reports.TrainerReport | reports.EvaluatorReport


@dataclass(frozen=True, kw_only=True)
class Question:
    """Who is asked for what."""

    address: str
    job_uid: str | None
    attempt: int
    kind: type[Report]

    @property
    def host(self) -> str:
        """The address as it stands in a URL."""
        return f"[{self.address}]" if ":" in self.address else self.address

    @property
    def endpoint(self) -> str:
        """Address and port."""
        return f"{self.host}:{pod_environment.METRICS_PORT}"


@dataclass(frozen=True)
class Answer:
    """What a question came to; a report only of the attempt that was asked."""

    question: Question
    sighting: Sighting
    report: Report | None = None


class ProgressPoller:
    """Reads /progress of pods and keeps what each question came to until it is taken."""

    def __init__(self, answered: Callable[[JobRef], None], now: Callable[[], datetime]) -> None:
        self.answered = answered
        self.now = now
        self.session: aiohttp.ClientSession | None = None
        self.in_flight = asyncio.Semaphore(IN_FLIGHT)
        self.polls: dict[JobRef, asyncio.Task[None]] = {}
        self.answers: dict[JobRef, Answer] = {}
        self.last: dict[JobRef, Answer] = {}
        """What the last question of each job came to, for how long it has come to that."""

    def poll(self, ref: JobRef, question: Question) -> None:
        """Have a pod asked unless the job's is being asked already."""
        if ref not in self.polls:
            task = self.polls[ref] = asyncio.create_task(self._ask(ref, question))
            task.add_done_callback(lambda _: self.polls.pop(ref, None))

    def take(self, ref: JobRef, question: Question) -> Answer | None:
        """What this question came to, once."""
        answer = self.answers.pop(ref, None)
        return answer if answer is not None and answer.question == question else None

    def forget(self, ref: JobRef) -> None:
        """The job is gone; a pod of it that is being asked, and will hardly answer, must not bring it back."""
        if (task := self.polls.get(ref)) is not None:
            task.cancel()
        self.answers.pop(ref, None)
        self.last.pop(ref, None)

    async def _ask(self, ref: JobRef, question: Question) -> None:
        """Ask a pod; only an answer is told of, the rest is found at the next look."""
        async with self.in_flight:
            reach, detail, report = await self._read(question)
        last, since = self.last.get(ref), self.now()
        if last is not None and last.question == question and last.sighting.is_answer == (reach is Reach.ANSWERS):
            since = last.sighting.since
        sighting = Sighting(reach=reach, endpoint=question.endpoint, since=since, detail=detail)
        self.answers[ref] = self.last[ref] = Answer(question, sighting, report)
        if sighting.is_answer:
            self.answered(ref)

    async def _read(self, question: Question) -> tuple[Reach, str, Report | None]:
        """One question: what it came to, what there is to say of it, and the report."""
        try:
            url = f"http://{question.endpoint}/progress"
            async with self._connections().get(url, allow_redirects=False, timeout=_bounds()) as response:
                content = bytearray()
                async for part in response.content.iter_any():
                    content += part
                    if len(content) > SIZE_LIMIT:
                        return Reach.UNREADABLE, f"more than {SIZE_LIMIT} bytes", None
            return _understood(question, response.status, bytes(content))
        except (aiohttp.ClientError, TimeoutError) as error:
            return *_failure(error), None

    def _connections(self) -> aiohttp.ClientSession:
        """To pods directly, whatever proxy leads out of the cluster, and none for longer than an answer.

        A connection that was kept would not tell of a network that has been cut since. What pods send is not unpacked,
        and none of them sets a cookie or sends the operator elsewhere.
        """
        if self.session is None:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            jar = aiohttp.DummyCookieJar()
            self.session = aiohttp.ClientSession(connector=connector, cookie_jar=jar, auto_decompress=False)
        return self.session

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self.polls.values()):
            task.cancel()
        if self.session is not None:
            await self.session.close()


def _bounds() -> aiohttp.ClientTimeout:
    """Of one question."""
    return aiohttp.ClientTimeout(total=TIMEOUT_SECONDS, sock_connect=CONNECT_SECONDS)


def _understood(question: Question, status: int, content: bytes) -> tuple[Reach, str, Report | None]:
    """What an answer is."""
    report = question.kind.parse(content) if status in SUCCESS else None
    if report is None:
        return Reach.UNREADABLE, f"HTTP {status} without a report", None
    if not report.is_of(question.job_uid, question.attempt):
        return Reach.OTHER_ATTEMPT, f"attempt {report.attempt} of job {report.job_uid} answers", None
    return Reach.ANSWERS, "", report


def _failure(error: Exception) -> tuple[Reach, str]:
    """What it means that there was no answer, and the operating system's word for it."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Reach.TIMED_OUT, f"no connection within {CONNECT_SECONDS:g} s"
    number = error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    word = "" if number is None else errno.errorcode.get(number, str(number))
    if number == errno.ECONNREFUSED:
        return Reach.REFUSED, word
    if number in NO_ROUTE or isinstance(error, aiohttp.InvalidURL):
        return Reach.NO_ROUTE, word
    return Reach.SILENT, word
