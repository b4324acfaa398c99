"""What can be asked of the load generator, and what it reports. Plain structs, JSON on the way in and out."""

from collections.abc import Sequence

import msgspec


class Quantiles(msgspec.Struct, frozen=True):
    """A distribution of times in milliseconds."""

    count: int
    p50: float
    p99: float
    max: float


def quantiles(seconds: Sequence[float]) -> Quantiles | None:
    """Give the nearest-rank quantiles of some times, or None when there are none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return Quantiles(
        count=len(ordered),
        p50=ordered[last // 2] * 1000,
        p99=ordered[min(last, int(len(ordered) * 0.99))] * 1000,
        max=ordered[-1] * 1000,
    )


class Job(msgspec.Struct, tag_field="kind", kw_only=True, frozen=True):
    """Who is asked, and whose CPU time is read at both ends of the window.

    `client` names one of `bench.asking`'s, None asks as the canned upstream has it, at `path` and with `headers` beside
    the usual ones. `subject` are the pids that are
    measured, `upstream` those of the upstream: reported so that a saturated bench is seen. The window lasts `seconds`
    after `warmup_s`.
    """

    port: int
    key: str = "sk-bench"
    model: str = "canned"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = {}
    client: str | None = None
    subject: list[int] = []
    upstream: list[int] = []
    seconds: float = 3.0
    warmup_s: float = 0.3


class Unary(Job, tag="unary", frozen=True):
    """Closed loop: so many connections, each asking again as soon as it is answered. With wrk when `tool` names it."""

    connections: int = 32
    tool: str | None = None


class Streams(Job, tag="streams", frozen=True):
    """So many endless streams at once, one event per stream and interval, spread over the interval."""

    streams: int = 100
    interval_ms: float = 20.0


class Paced(Job, tag="paced", frozen=True):
    """Open loop: unary requests sent at fixed times, whatever became of earlier ones; latency from intended start."""

    period_us: int = 1000


class Arrivals(Job, tag="arrivals", frozen=True):
    """Open loop: short streams begun at fixed times, whatever became of earlier ones; latency from intended start."""

    period_us: int = 5000
    events: int = 20
    interval_ms: float = 20.0


class Numbered(Job, tag="numbered", frozen=True):
    """Open loop: so many streams begun at fixed times, each a conversation of its own, numbered from `first` on.

    A scripted upstream draws a request's fate from its number. Every request is waited for, up to `linger_s` behind
    the last one, and counts; there is no window and no warm-up.
    """

    period_us: int = 20_000
    requests: int = 100
    first: int = 0
    linger_s: float = 5.0
    seconds: float = 0.0
    warmup_s: float = 0.0


class Hold(Job, tag="hold", frozen=True):
    """Open so many slow streams, and read the subject's memory before and after."""

    streams: int = 1000
    interval_ms: float = 5000.0


class SlowReader(Job, tag="slow_reader", frozen=True):
    """Read one stream of about so many bytes in bursts with pauses, and watch the subject's memory.

    The upstream writes as fast as it is let. No window: it ends with the stream, or unfinished after `seconds`.
    """

    seconds: float = 60.0
    total_bytes: int = 1_000_000_000
    burst_bytes: int = 5_000_000
    pause_ms: float = 100.0


AnyJob = Unary | Paced | Streams | Arrivals | Numbered | Hold | SlowReader


class Report(msgspec.Struct, kw_only=True):
    """What one job saw in its window. CPU in seconds; `errors` counts failed requests by their reason.

    `requests` includes those that an open loop answered after its window, `requests_in_window` does not: what CPU time
    is divided by. `first_contents_ms` are all of them, where a job wants more of their distribution than quantiles.
    """

    tool: str = "bench.load"
    seconds: float = 0.0
    requests: int = 0
    requests_in_window: int = 0
    events: int = 0
    opened: int = 0
    body_bytes: int = 0
    errors: dict[str, int] = {}
    latency_ms: Quantiles | None = None
    ttft_ms: Quantiles | None = None
    gap_ms: Quantiles | None = None
    first_contents_ms: list[float] = []
    subject_cpu_s: float = 0.0
    upstream_cpu_s: float = 0.0
    load_cpu_s: float = 0.0
    rss_before_bytes: int = 0
    rss_peak_bytes: int = 0
    rss_after_bytes: int = 0

    def fail(self, reason: str, count: int) -> None:
        """Count failures; none count as nothing."""
        if count:
            self.errors[reason] = self.errors.get(reason, 0) + count
