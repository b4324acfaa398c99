"""What can be asked of the load generator, and what it reports. Plain structs, JSON on the way in and out."""

from collections.abc import Sequence

import msgspec

SIGNIFICANT_DIGITS = 3
_MS_MIN = 1e-6


class Quantiles(msgspec.Struct, frozen=True, omit_defaults=True):
    """A distribution of times in milliseconds: ascending values, three significant digits of each, and how often each.

    Whoever knows no more than some quantiles leaves the values out.
    """

    count: int
    p50: float
    p99: float
    max: float
    values: list[float] = []
    counts: list[int] = []

    def within(self, bound_ms: float) -> int:
        """Count those of the distribution that took no longer than that."""
        return sum(count for value, count in zip(self.values, self.counts, strict=True) if value <= bound_ms)


def quantiles(seconds: Sequence[float]) -> Quantiles | None:
    """Give the distribution of some times, its quantiles by nearest rank, or None when there are none."""
    if not seconds:
        return None
    import numpy as np  # noqa: PLC0415 - takes as long to load as a short window lasts, and nothing while one is open

    times_ms = np.asarray(seconds, dtype=np.float64) * 1000
    p50, p99 = np.quantile(times_ms, (0.5, 0.99), method="inverted_cdf")
    digits = SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(np.maximum(np.abs(times_ms), _MS_MIN)))
    rounded, counts = np.unique(np.rint(times_ms * 10**digits) / 10**digits, return_counts=True)
    return Quantiles(
        count=len(seconds),
        p50=float(p50),
        p99=float(p99),
        max=float(times_ms.max()),
        values=[float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in rounded.tolist()],
        counts=counts.tolist(),
    )


class Job(msgspec.Struct, tag_field="kind", kw_only=True, frozen=True):
    """Who is asked, and whose CPU time is read at both ends of the window.

    `client` names one of `bench.asking`'s, None asks as the canned upstream has it, at `path` and with `headers` beside
    the usual ones. `subject` are the pids that are measured, `beside` what else belongs to the subject, `upstream`
    those of the upstream: reported so that a saturated bench is seen. The window lasts `seconds` after `warmup_s`.
    """

    port: int
    key: str = "sk-bench"
    model: str = "canned"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = {}
    client: str | None = None
    subject: list[int] = []
    beside: list[int] = []
    upstream: list[int] = []
    seconds: float = 3.0
    warmup_s: float = 0.3


class Unary(Job, tag="unary", frozen=True):
    """Closed loop: so many connections, each asking again as soon as it is answered. With wrk when `tool` names it.

    With `events` it asks for short streams instead, with an event each interval.
    """

    connections: int = 32
    tool: str | None = None
    events: int = 0
    interval_ms: float = 0.0


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
    """So many clients at once that each read a stream of about so many bytes in bursts with pauses.

    The subject's memory is watched; the upstream writes as fast as it is let. No window: it ends with the streams, or
    unfinished after `seconds`.
    """

    readers: int = 1
    seconds: float = 60.0
    total_bytes: int = 1_000_000_000
    burst_bytes: int = 5_000_000
    pause_ms: float = 100.0


class Churn(Job, tag="churn", frozen=True):
    """A connection for each request, closed by the client: so many at once in a closed loop, or one each `period_us`.

    Never more than `connections_max` in all: for a while a connection that was closed keeps the port that it had.
    """

    connections: int = 32
    period_us: int | None = None
    connections_max: int = 20_000


class Large(Job, tag="large", frozen=True):
    """Closed loop of unary requests with a prompt of so many bytes, so many at once, besides endless small streams.

    The window lasts until the last request that was begun in it is answered; memory is read all the time, and once
    more when all connections have been idle for `idle_seconds`.
    """

    prompt_bytes: int = 1_000_000
    uploads: int = 1
    streams: int = 0
    interval_ms: float = 10.0
    idle_seconds: float = 0.0


class Soak(Job, tag="soak", frozen=True):
    """Open loop of everything that clients do, one request each `period_us`: `bench.soak` has the mix.

    Memory and open files of the subject are read each `look_seconds`. Every request is accounted for.
    """

    look_seconds: float = 1.0
    period_us: int = 2000
    events: int = 20
    interval_ms: float = 5.0
    warmup_s: float = 0.0


AnyJob = Unary | Paced | Streams | Arrivals | Numbered | Hold | SlowReader | Churn | Large | Soak


class Reading(msgspec.Struct, frozen=True):
    """What the subject had after so many seconds and so many requests."""

    at_s: float
    requests: int
    rss_bytes: int
    open_files: int


class Report(msgspec.Struct, kw_only=True):
    """What one job saw in its window. CPU in seconds; `errors` counts failed requests by their reason.

    `requests` includes those that an open loop answered after its window, `requests_in_window` does not: what CPU time
    is divided by. `first_contents_ms` are all of them, where a job wants more of their distribution than quantiles.
    `late_ms` is how long after its intended time an open loop's load sent a request: part of its latency. Opening all
    streams of a job took `open_seconds`; `course` is what was read of the subject on the way.
    """

    tool: str = "bench.load"
    seconds: float = 0.0
    requests: int = 0
    requests_in_window: int = 0
    events: int = 0
    opened: int = 0
    open_seconds: float = 0.0
    body_bytes: int = 0
    errors: dict[str, int] = {}
    latency_ms: Quantiles | None = None
    ttft_ms: Quantiles | None = None
    gap_ms: Quantiles | None = None
    late_ms: Quantiles | None = None
    first_contents_ms: list[float] = []
    subject_cpu_s: float = 0.0
    beside_cpu_s: float = 0.0
    upstream_cpu_s: float = 0.0
    load_cpu_s: float = 0.0
    rss_before_bytes: int = 0
    rss_peak_bytes: int = 0
    rss_after_bytes: int = 0
    course: list[Reading] = []

    def fail(self, reason: str, count: int) -> None:
        """Count failures; none count as nothing."""
        if count:
            self.errors[reason] = self.errors.get(reason, 0) + count
