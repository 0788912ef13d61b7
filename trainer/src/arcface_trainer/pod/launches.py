"""The launches of a pod's ranks in one attempt: the operator's word has all launchers start their ranks anew, in place.

A launcher whose ranks have failed says so to that of pod 0, and waits for that word. Where the operator does not
listen, or no word comes, its pod ends as it always did, and all pods start anew. Where pod 0 does not answer, it may be
that very pod which is lost: the word comes all the same once the operator has seen that.

In pod 0 the operator keeps a question open that is answered as soon as there is something new (long polling): a rank's
death is heard of at once, and a gang costs one connection however many pods it has. Whoever says what is no word of
this gang is refused: in a node's network (hostNetwork) the launcher of another job may be asked.
"""

import http.client
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Condition, Thread
from typing import Self
from urllib.parse import parse_qs

from pydantic import ValidationError

from arcface_api.contract import launcher_words as words
from arcface_api.contract.pod_environment import LAUNCHER_PORT, RankIdentity
from arcface_api.contract.reports import ReportedFailure, TrainerReport, termination_message
from arcface_api.errors import NEVER_RETRIED
from arcface_trainer.pod import rendezvous
from arcface_trainer.pod.state_server import StateHandler, StateServer, serve_states

LOG = logging.getLogger(__name__)
CALL_SECONDS = 30.0
"""Patience for the operator's word where it listens, in which kubelets show an annotation, too."""
LOSS_SECONDS = 90.0
"""Patience where a pod may be lost, which shows at the latest by its node: that is told 40 to 50 s after its end."""
POLL_SECONDS = 0.05
TRIES = 3
AGAIN_SECONDS = 0.5
"""From when nobody answered to the next try."""
LISTENING_SECONDS = 3.0
"""For which whoever has listened is taken to do so again."""
TELL_SECONDS = 2.0
LONGEST_BODY = 1 << 16


@dataclass
class Exchange:
    """The words of a gang."""

    identity: RankIdentity
    _words: dict[int, words.PodWord] = field(default_factory=dict)
    """The newest of each pod, by its first rank; one that is said again comes last."""
    _changed: Condition = field(default_factory=Condition)
    _serial: int = 0
    _listeners: int = 0
    _heard_at: float | None = None
    """By the monotonic clock."""
    server: StateServer | None = None
    """That answers, once it does."""

    def take(self, word: words.PodWord) -> bool:
        """Take in a word; whether somebody acts on it."""
        with self._changed:
            known = self._words.pop(word.rank, None)
            self._words[word.rank] = word if known is None or _is_newer(word, known) else known
            self._serial += 1
            self._changed.notify_all()
            recent = self._heard_at is not None and time.monotonic() - self._heard_at < LISTENING_SECONDS
            return self._listeners > 0 or recent

    def is_of_gang(self, word: words.PodWord) -> bool:
        """Whether a word is of the job and the attempt of this pod, and of a rank that there is."""
        own = self.identity
        return (word.job_uid, word.attempt) == (own.job_uid, own.attempt) and word.rank < own.world_size

    def listen(self, after: int, seconds: float) -> words.GangWord:
        """All words, as soon as there is another one than those up to a serial, or at the end of a time.

        A new pod 0 at the address of the one before, in its node's network, counts from the beginning.
        """
        with self._changed:
            self._listeners += 1
            self._changed.wait_for(lambda: self._serial != after, min(seconds, words.LONGEST_WAIT_SECONDS))
            self._listeners -= 1
            self._heard_at = time.monotonic()
            return self._gang_word()

    def _gang_word(self) -> words.GangWord:
        """All words as one."""
        newest = max((word.launch for word in self._words.values()), default=0)
        found = [word for word in self._words.values() if word.launch == newest]
        return words.GangWord(
            job_uid=self.identity.job_uid,
            attempt=self.identity.attempt or 0,
            serial=self._serial,
            launch=newest,
            pods=len(found),
            failures=[word for word in found if word.failure is not None][: words.MOST_FAILURES],
        )

    def serve(self, address: str, port: int = LAUNCHER_PORT) -> int | None:
        """Answer in daemon threads; the port, None where it cannot be had: then pods end with their ranks."""
        try:
            server = _Server((address, port), _Handler)
        except OSError as error:
            LOG.warning("words are not exchanged address=%s port=%d reason=%s", address, port, error.strerror)
            return None
        server.exchange = self
        server.begin()
        self.server = server
        return int(server.server_address[1])


def _is_newer(word: words.PodWord, known: words.PodWord) -> bool:
    """Whether a pod has said something after another word; ranks that have ended never run again in their launch."""
    is_over = known.failure is not None and word.failure is None
    return word.launch > known.launch or (word.launch == known.launch and not is_over)


class _Server(StateServer):
    exchange: Exchange


class _Handler(StateHandler):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server asks for
        """The operator listens."""
        path, _, query = self.path.partition("?")
        if path != "/gang":
            return super().do_GET()
        try:
            asked = parse_qs(query)
            after, seconds = (float(asked.get(name, ["0"])[0]) for name in ("after", "seconds"))
            word = self.server.exchange.listen(int(after), max(0.0, seconds))
        except (ValueError, OverflowError):
            return self.answer(400, b"")
        return self.answer(200, word.to_json().encode())

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server asks for
        """A launcher says something."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/word":
            return super().do_POST()
        if not length.isdecimal() or len(length) > 9 or int(length) > LONGEST_BODY:
            return self.answer(404, b"")
        try:
            word = words.PodWord.model_validate_json(self.rfile.read(int(length)), extra="ignore")
        except ValidationError:
            return self.answer(400, b"")
        if not self.server.exchange.is_of_gang(word):
            return self.answer(409, b"")
        return self.answer(200, words.HeardWord(is_heard=self.server.exchange.take(word)).to_json().encode())


def _tell(word: words.PodWord, address: str, port: int = LAUNCHER_PORT) -> bool | None:
    """Say something to the launcher of pod 0; whether somebody acts on it, None where none of this gang answers."""
    connection = http.client.HTTPConnection(address, port, timeout=TELL_SECONDS)
    try:
        connection.request("POST", "/word", word.to_json(), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read(LONGEST_BODY)
        if answer.status == http.client.OK:
            return words.HeardWord.model_validate_json(content, extra="ignore").is_heard
        LOG.warning("another answers in the place of pod 0 address=%s status=%d", address, answer.status)
    except (OSError, http.client.HTTPException, ValidationError) as error:
        LOG.warning("pod 0 does not hear address=%s reason=%s", address, error)
    finally:
        connection.close()
    return None


@dataclass
class Launches:
    """Which launch a pod is at, and what its launcher says of it."""

    identity: RankIdentity
    exchange: Exchange | None
    """That of the gang, in pod 0."""
    meeting: rendezvous.MeetingPoint | None = None
    """Where the ranks meet; None before they do, and for a rank alone."""
    server: StateServer | None = None
    """What the launcher listens with; None where it could have no port."""

    @classmethod
    def begin(cls, identity: RankIdentity) -> Self:
        """Those of a pod that has not met the others yet; one follows where the operator is of before them."""
        if identity.launch_file is None or identity.attempt is None:
            return cls(identity, None)
        if identity.rank != 0:
            return cls(identity, None, server=serve_states(identity.address))
        exchange = Exchange(identity)
        is_served = exchange.serve(identity.address) is not None
        return cls(identity, exchange if is_served else None, server=exchange.server)

    @property
    def is_called(self) -> bool:
        """Whether the operator has called for another launch."""
        return self._call().launch > self.identity.launch

    def meet(self) -> None:
        """Come to the launch that is called for, and wait for the other pods where it is the first, or one is new.

        Raises:
            InvalidInput: where what the operator wrote cannot be used.
        """
        call = self._call()
        if self.meeting is None or call.is_anew:
            self.meeting = rendezvous.meet(self.identity, self._call)
        launch = call.launch if self.meeting is None else max(call.launch, self.meeting.launch)
        self.identity = replace(self.identity, launch=max(self.identity.launch, launch))

    def tell_of_start(self) -> None:
        """Say that this pod has started the ranks of a later launch, which nothing of it waits for."""
        if self.identity.launch:
            Thread(target=self._tell_of_start, args=(self.identity.launch,), daemon=True, name="tell").start()

    def _tell_of_start(self, launch: int) -> None:
        """Until it is taken in, or another launch is called for; a new pod 0 may run before its launcher answers."""
        while self.identity.launch == launch and not self.is_called and self._tell(None, None) is None:
            time.sleep(AGAIN_SECONDS)

    def is_called_after(self, failure: ReportedFailure, step: int | None, is_stopped: Callable[[], bool]) -> bool:
        """Say that the ranks have failed, and wait for the word to launch them again; whether it came."""
        if self.is_called:
            return not is_stopped()
        if failure.exit_code in NEVER_RETRIED or self.identity.launch_file is None:
            return False
        if not (patience := self._patience(failure, step)):
            return False
        LOG.info("ranks have ended launch=%d reason=%s: waiting for the operator", self.identity.launch, failure.reason)
        deadline = time.monotonic() + patience
        while not self.is_called:
            if is_stopped() or time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return not is_stopped()

    def _patience(self, failure: ReportedFailure, step: int | None) -> float:
        """Seconds to wait for the word. Ranks that nobody here stopped have saved with one whose pod is to leave."""
        if failure.reason == "Stopped":
            return LOSS_SECONDS
        heard = self._tell(failure, step)
        return LOSS_SECONDS if heard is None else CALL_SECONDS * heard

    def _call(self) -> words.LaunchCall:
        """The operator's call as it is now."""
        try:
            file = self.identity.launch_file
            return words.LaunchCall.parse("" if file is None else file.read_text())
        except (OSError, UnicodeDecodeError):
            return words.LaunchCall()

    def _tell(self, failure: ReportedFailure | None, step: int | None) -> bool | None:
        """Say something; whether it is acted on, None where nobody of this gang answers.

        A failure is told as short as by the pod's end: the last lines of a log may be of any length.
        """
        own = self.identity
        if own.attempt is None:
            return False
        report = TrainerReport.parse(termination_message(TrainerReport(failure=failure))) or TrainerReport()
        word = words.PodWord(
            job_uid=own.job_uid,
            attempt=own.attempt,
            launch=own.launch,
            rank=own.rank,
            failure=report.failure,
            step=step,
        )
        if self.exchange is not None:
            return self.exchange.take(word)
        if self.meeting is None or own.rank == 0:
            return False
        answers = (_tell(word, self.meeting.scheduler) for _ in range(TRIES))
        return next((heard for heard in answers if heard is not None), None)
