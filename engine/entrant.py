"""One attempt as the race sees it: it waits for content, and tells its candidate's health what became of it.

For a stream content is what its tap says; a unary answer is content as a whole, and read before it counts, so that an
error in a 200 loses the race like any other. The candidate's health hears exactly once what became of an attempt up to
its content, once more if the stream breaks behind it, and when it is over.
"""

from math import inf

from adapters import estimates
from adapters.errors import ClientError, GatewayError, UpstreamError
from adapters.usage import Usage
from engine.passage import Passage, Whole
from engine.retry_after import retry_after_seconds
from engine.route import Candidate
from engine.upstream import UNFINISHED, Attempt

LOST = "lost"
"""What became of an attempt that another one beat: neither answer nor failure."""


class Entrant:
    """An attempt at one candidate with its passage. `whole` is the unary answer, once `wait` has returned.

    Made only after `candidate.health.begin`; `close` gives that back, synchronously and any number of times.
    """

    __slots__ = ("_answer_bytes_max", "_told", "attempt", "candidate", "hedge_seconds", "passage", "whole")

    def __init__(
        self,
        candidate: Candidate,
        passage: Passage,
        attempt: Attempt,
        *,
        hedge_seconds: float,
        answer_bytes_max: int,
    ) -> None:
        self.candidate = candidate
        self.hedge_seconds = hedge_seconds
        """How long it runs alone."""
        self.passage = passage
        self.attempt = attempt
        self.whole: Whole | None = None
        self._answer_bytes_max = answer_bytes_max
        self._told = False

    def __repr__(self) -> str:
        return f"<Entrant {self.attempt!r}>"

    @property
    def started(self) -> float:
        """When the attempt began."""
        return self.attempt.started

    @property
    def usage(self) -> Usage | None:
        """The tokens it is known, or guessed, to have cost."""
        if self.passage.tap is not None:
            return self.passage.tap.usage
        return self.whole.usage if self.whole is not None else None

    async def wait(self, until: float = inf) -> None:
        """Return at the first content. Raises `UpstreamError`, `ClientError`, `Due` at `until`; resumable."""
        try:
            if self.passage.tap is not None:
                await self.attempt.wait_content(until)
            elif self.whole is None:
                await self.attempt.wait_head(until)
                whole = self.passage.read(await self.attempt.read_whole(self._answer_bytes_max, until))
                if whole.failure is not None:
                    raise self.attempt.in_band(whole.failure)
                self.whole = whole
        except ClientError:
            self._tell_judged()
            raise
        except UpstreamError as exc:
            self._tell_failed(exc)
            raise
        if not self._told:
            self._told = True
            now = self.attempt.now()
            self.candidate.health.answered(now - self.attempt.started, now, stream=self._is_stream)

    def tell_broken(self, error: GatewayError) -> None:
        """Let the candidate's health know that its stream broke behind its first content."""
        if isinstance(error, UpstreamError):
            self._tell_failed(error)

    def _tell_failed(self, error: UpstreamError) -> None:
        self._told = True
        seconds = retry_after_seconds(error.failure.headers)
        self.candidate.health.failed(error, self.attempt.now(), retry_after_seconds=seconds)

    def lose(self, error: UpstreamError | None = None) -> None:
        """Close it: another one won, or `error` says why it is given up."""
        record = self.attempt.record
        if error is None:
            # Also one whose content came in the winner's own tick: it is paid for, and nobody gets it.
            if record.cause == UNFINISHED:
                record.cause, record.usage = LOST, self._waste()
        elif not self._told:
            record.cause = error.cause
            self._tell_failed(error)
        self.close()

    def close(self) -> None:
        """Give back the connection and the candidate."""
        attempt = self.attempt
        if not attempt.close():
            return
        health = self.candidate.health
        if not self._told:
            self._told = True
            seconds, alone = attempt.ended - attempt.started, self.hedge_seconds
            if attempt.record.cause == LOST and seconds >= alone:
                health.outrun(seconds, attempt.ended, after_seconds=alone, stream=self._is_stream)
            else:
                health.abandoned()
        health.end()

    @property
    def _is_stream(self) -> bool:
        return self.passage.tap is not None

    def _tell_judged(self) -> None:
        self._told = True
        self.candidate.health.judged(self.attempt.now())

    def _waste(self) -> Usage | None:
        """Return what a lost attempt has cost: what its upstream said so far, or the prompt at a guess once sent."""
        if self.attempt.is_sent and (self.usage is None or not self.usage.input_tokens):
            return Usage(estimates.tokens_of(len(self.passage.body)), estimated=True)
        return self.usage
