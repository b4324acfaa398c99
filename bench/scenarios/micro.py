"""What translation costs without any I/O. The measures are `bench.micro`'s; here they are repeated, round by round.

A round's sample is the best of several passes: the codecs are pure, so what exceeds the best is the machine's. Every
figure stands beside the yardstick, what msgspec takes to decode one typed chunk in the same round: that ratio travels
between machines.
"""

from bench import micro
from bench.codec_corpus import DIALECTS
from bench.runs import Figure, Scenario
from bench.scenarios import Profile, Say

METHOD = (
    "CPU time of one process, no I/O; the best of several passes over streams of 400 events, in reads of 40 events, "
    "and over requests of 100 KB. The yardstick is msgspec decoding one typed chunk."
)
YARDSTICK = "yardstick"
_ROUNDS_QUICK, _ROUNDS_FULL = 3, 9
_KINDS = {
    "tap": ("a text event passed through", None),
    "parser": ("a text event parsed", None),
    "emitter": ("a text event written", None),
    "pair": ("a text event translated", 2.7),
    "request": ("a request of 100 KB translated", 1000.0),
}
"""Titles, and the targets of the dearest, in us."""

_QUOTED = {"tap", "pair", "request"}


def run(profile: Profile, say: Say) -> Scenario:
    """Measure every round, and in a full run once how costs grow with size."""
    rounds = profile.rounds or (_ROUNDS_QUICK if profile.quick else _ROUNDS_FULL)
    samples: dict[str, dict[str, list[float]]] = {YARDSTICK: {"": []}}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        samples[YARDSTICK][""].append(micro.yardstick_us())
        for kind, found in ({**micro.streams(), "request": micro.requests()}).items():
            for name, value in found.items():
                samples.setdefault(kind, {}).setdefault(name, []).append(value)
    figures = figures_of(samples)
    if not profile.quick:
        say("ten times the size")
        figures += growth(micro.growth())
    settings = {"rounds": rounds, "events": micro.EVENTS, "passes": micro.ROUNDS, "dialects": list(DIALECTS)}
    return Scenario(name="micro", method=METHOD, settings=settings, figures=figures)


def figures_of(samples: dict[str, dict[str, list[float]]]) -> list[Figure]:
    """Give the yardstick, the dearest of each kind, and then every one."""
    figures = [Figure(name=YARDSTICK, unit="us", samples=samples[YARDSTICK][""], foreign=True)]
    kinds = [kind for kind in _KINDS if kind in samples]
    for kind in kinds:
        title, target = _KINDS[kind]
        dearest = [max(of_round) for of_round in zip(*samples[kind].values(), strict=True)]
        figures.append(
            Figure(
                name=f"{title}, the dearest",
                unit="us",
                samples=dearest,
                target=target,
                beside=YARDSTICK,
                headline=kind in _QUOTED,
            )
        )
    for kind in kinds:
        for name, values in samples[kind].items():
            figures.append(Figure(name=f"{_KINDS[kind][0]}: {name}", unit="us", samples=values, beside=YARDSTICK))
    return figures


def growth(found: dict[str, list[float]]) -> list[Figure]:
    """Give how many times as long ten times the size takes: about ten, where nothing is quadratic; and how long."""
    figures = [
        Figure(name=f"growth, {name}", unit="x", samples=[great / small]) for name, (small, great) in found.items()
    ]
    for name, (small, great) in found.items():
        figures.append(Figure(name=f"time, {name}, the smaller", unit="s", samples=[small]))
        figures.append(Figure(name=f"time, {name}, the greater", unit="s", samples=[great]))
    return figures
