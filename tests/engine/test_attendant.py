"""The attendant: one process beside the workers, started again and again, told what it must know, ended in time."""

import os
import signal
import socket
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.attendant import (
    DISMISSAL_SECONDS_MAX,
    RESTART_SECONDS_MAX,
    RESTART_SECONDS_MIN,
    SILENCE_SECONDS_MAX,
    STEADY_SECONDS,
    Attendant,
    Delays,
)
from engine.control import Channel, Command, Order

LIVES_MAX = 20
"""More than any of these tests needs."""


class Life:
    """A process that was started, as far as an attendant can tell, and what it was told."""

    def __init__(self, command: list[str], descriptor: int) -> None:
        self.command = command
        self.returncode: int | None = None
        self.was_killed = False
        self._end = socket.socket(fileno=os.dup(descriptor))
        self._ended = trio.Event()

    def exit(self, code: int = 0) -> None:
        """End by itself."""
        self.returncode = code
        self._end.close()
        self._ended.set()

    def kill(self) -> None:
        """Be killed."""
        self.was_killed = True
        self.exit(-9)

    async def wait(self) -> int:
        """Return its code when it has ended."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def heard(self) -> list[Order]:
        """Return what it was told since it was asked last."""
        lines = b""
        with suppress(BlockingIOError):
            lines = self._end.recv(1_000_000, socket.MSG_DONTWAIT)
        return [msgspec.json.decode(line, type=Order) for line in lines.splitlines()]

    def say(self) -> None:
        """Give a sign of life."""
        self._end.send(b"anything\n")

    def hang_up(self) -> None:
        """Close the channel, and run on."""
        self._end.close()

    def is_let_go(self) -> bool:
        """Whether its channel has ended."""
        try:
            return self._end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False


class Theatre:
    """Starts lives instead of processes, each of which `plays`; it may refuse to start one."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.started_at: list[float] = []
        self.failures: list[OSError] = []
        self.plays: Callable[[Life], object] = lambda _: None
        self.started = trio.Event()

    async def start(self, command: list[str], descriptors: tuple[int, ...]) -> Life:
        """Stand in for `start_process`."""
        await trio.lowlevel.checkpoint()
        assert len(self.lives) < LIVES_MAX, "it is started in a circle"
        self.started_at.append(trio.current_time())
        if self.failures:
            raise self.failures.pop()
        (descriptor,) = descriptors
        assert command[-2:] == ["--control-fd", str(descriptor)]
        life = Life(command, descriptor)
        self.lives.append(life)
        self.plays(life)
        self.started.set()
        return life

    async def wait_lives(self, count: int) -> Life:
        """Wait until so many were started; return the last."""
        with trio.fail_after(1_000):
            while len(self.lives) < count:
                self.started = trio.Event()
                await self.started.wait()
        await wait_all_tasks_blocked()
        return self.lives[-1]


@pytest.fixture
async def theatre(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Theatre]:
    made = Theatre()
    monkeypatch.setattr("engine.attendant.start_process", made.start)
    yield made
    for life in made.lives:
        assert life.returncode is not None, "one is left behind"


def words(incarnation: str) -> list[str]:
    return ["actor", "--incarnation", incarnation]


RELOAD = Order(Command.RELOAD, "new")


# -- lives and deaths --------------------------------------------------------------------------------------------------


def test_delays_double_up_to_a_bound_and_begin_anew_after_a_steady_life() -> None:
    delays = Delays()
    short = [delays.after(0.0) for _ in range(9)]
    assert short == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert [short[0], short[-1]] == [RESTART_SECONDS_MIN, RESTART_SECONDS_MAX]
    assert delays.after(STEADY_SECONDS) == 0.25
    assert delays.after(STEADY_SECONDS - 0.1) == 0.5


async def test_one_that_ends_at_once_is_started_again_ever_later(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    theatre.plays = lambda life: life.exit(3)
    attendant = Attendant("actor", words)
    nursery.start_soon(attendant.keep)
    await theatre.wait_lives(5)
    gaps = [after - before for before, after in zip(theatre.started_at, theatre.started_at[1:], strict=False)]
    assert gaps == pytest.approx([0.25, 0.5, 1.0, 2.0])
    assert "the actor ended with code 3; another starts in 0.25 s" in caplog.text
    nursery.cancel_scope.cancel()


async def test_one_that_lived_steadily_is_started_again_soon(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    attendant = Attendant("actor", words)
    nursery.start_soon(attendant.keep)
    for count in (1, 2, 3):
        (await theatre.wait_lives(count)).exit()
    long = await theatre.wait_lives(4)
    await trio.sleep(STEADY_SECONDS)
    long.exit()
    ended = trio.current_time()
    await theatre.wait_lives(5)
    assert trio.current_time() - ended == pytest.approx(RESTART_SECONDS_MIN)
    nursery.cancel_scope.cancel()


async def test_each_life_has_a_name_of_its_own_and_is_told_of(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    seen: list[str] = []
    attendant = Attendant(
        "actor",
        words,
        born=lambda: seen.append(f"born {attendant.incarnation}"),
        gone=lambda incarnation: seen.append(f"gone {incarnation}, now {attendant.incarnation or 'down'}"),
    )
    assert (attendant.incarnation, repr(attendant)) == ("", "<Attendant actor down>")
    nursery.start_soon(attendant.keep)
    first = await theatre.wait_lives(1)
    one = attendant.incarnation
    assert repr(attendant) == f"<Attendant actor {one}>"
    assert first.command[1:-2] == ["-m", "actor", "--incarnation", one]
    first.exit()
    await wait_all_tasks_blocked()
    assert repr(attendant) == "<Attendant actor down>"
    await theatre.wait_lives(2)
    two = attendant.incarnation
    assert one.startswith("actor-")
    assert one != two
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await theatre.lives[1].wait()
        await wait_all_tasks_blocked()
    assert seen == [f"born {one}", f"gone {one}, now down", f"born {two}", f"gone {two}, now down"]


async def test_while_none_can_be_started_it_is_tried_again(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    theatre.failures = [OSError(11, "Resource temporarily unavailable"), OSError(24, "Too many open files")]
    nursery.start_soon(Attendant("actor", words).keep)
    await theatre.wait_lives(1)
    assert len(theatre.started_at) == 3
    assert "the actor cannot be started (Too many open files); another starts in 0.25 s" in caplog.text
    nursery.cancel_scope.cancel()


# -- silence -----------------------------------------------------------------------------------------------------------


async def test_one_that_gives_signs_of_life_is_left_alone_and_replaced_when_it_falls_silent(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    nursery.start_soon(Attendant("actor", words).keep)
    life = await theatre.wait_lives(1)
    for _ in range(5):
        life.say()
        await trio.sleep(SILENCE_SECONDS_MAX - 1)
    assert (life.was_killed, caplog.records) == (False, [])
    life.say()
    await wait_all_tasks_blocked()
    last = trio.current_time()
    await theatre.wait_lives(2)
    assert trio.current_time() - last == pytest.approx(SILENCE_SECONDS_MAX + RESTART_SECONDS_MIN)
    assert life.was_killed
    assert [each.getMessage() for each in caplog.records] == [
        f"the actor has given no sign of life for {SILENCE_SECONDS_MAX:g} s: it is killed",
        "the actor ended with code -9; another starts in 0.25 s",
    ]
    nursery.cancel_scope.cancel()


async def test_who_has_never_given_one_is_waited_for(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(Attendant("actor", words).keep)
    life = await theatre.wait_lives(1)
    await trio.sleep(10 * SILENCE_SECONDS_MAX)
    assert not life.was_killed
    nursery.cancel_scope.cancel()


async def test_a_sign_that_came_while_nobody_could_look_counts(
    theatre: Theatre, mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(Attendant("actor", words).keep)
    life = await theatre.wait_lives(1)
    for _ in range(3):
        life.say()
        mock_clock.jump(2 * SILENCE_SECONDS_MAX)  # as one who was stopped sees it
        await wait_all_tasks_blocked()
        assert [life.was_killed] == [False]
    mock_clock.jump(2 * SILENCE_SECONDS_MAX)
    await wait_all_tasks_blocked()
    assert life.was_killed
    nursery.cancel_scope.cancel()


async def test_who_closes_its_channel_has_so_long_to_end(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(Attendant("actor", words).keep)
    life = await theatre.wait_lives(1)
    life.hang_up()
    await trio.sleep(SILENCE_SECONDS_MAX - 1)
    assert [life.was_killed] == [False]
    with trio.fail_after(1_000):
        await theatre.wait_lives(2)
    assert life.was_killed
    nursery.cancel_scope.cancel()


# -- what it is told ---------------------------------------------------------------------------------------------------


async def test_what_holds_is_told_first_to_each_life_and_what_changes_to_who_lives(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    text = "one"
    attendant = Attendant("actor", words, first=lambda: Order(Command.CONFIGURE, text))
    await attendant.tell(RELOAD)
    nursery.start_soon(attendant.keep)
    life = await theatre.wait_lives(1)
    assert life.heard() == [Order(Command.CONFIGURE, "one")], "what it was told before it lived is dropped"
    await attendant.tell(RELOAD)
    assert life.heard() == [RELOAD]
    life.exit()
    await wait_all_tasks_blocked()
    await attendant.tell(RELOAD)
    text = "two"
    life = await theatre.wait_lives(2)
    assert life.heard() == [Order(Command.CONFIGURE, "two")]
    nursery.cancel_scope.cancel()


async def test_what_it_is_told_at_its_birth_comes_behind_the_first(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    attendant = Attendant(
        "actor",
        words,
        first=lambda: Order(Command.CONFIGURE, "x" * 4_000_000),
        born=lambda: nursery.start_soon(attendant.tell, RELOAD),
    )
    nursery.start_soon(attendant.keep)
    life = await theatre.wait_lives(1)
    received = b""
    while not received.endswith(b"\n") or received.count(b"\n") < 2:
        received += life._end.recv(1_000_000)
        await wait_all_tasks_blocked()
    assert [msgspec.json.decode(line, type=Order).command for line in received.splitlines()] == [
        Command.CONFIGURE,
        Command.RELOAD,
    ]
    nursery.cancel_scope.cancel()


async def test_one_that_ends_before_it_reads_is_only_started_again(
    theatre: Theatre, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    theatre.plays = lambda life: life.exit(1)
    attendant = Attendant("actor", words, first=lambda: Order(Command.CONFIGURE, "x" * 4_000_000))
    nursery.start_soon(attendant.keep)
    await theatre.wait_lives(3)
    nursery.cancel_scope.cancel()


async def test_without_a_first_word_it_is_told_nothing(theatre: Theatre, nursery: trio.Nursery) -> None:
    nursery.start_soon(Attendant("actor", words).keep)
    life = await theatre.wait_lives(1)
    assert life.heard() == []
    nursery.cancel_scope.cancel()


# -- its end -----------------------------------------------------------------------------------------------------------


async def test_one_that_is_dismissed_is_waited_for_and_not_replaced(
    theatre: Theatre, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    attendant = Attendant("actor", words)
    with trio.fail_after(1_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attendant.keep)
            life = await theatre.wait_lives(1)
            assert not life.is_let_go()

            async def finish() -> None:
                while not life.is_let_go():
                    await trio.lowlevel.checkpoint()
                await trio.sleep(DISMISSAL_SECONDS_MAX - 1)
                life.exit()

            nursery.start_soon(finish)
            began = trio.current_time()
            await attendant.dismiss()
            assert trio.current_time() - began == pytest.approx(DISMISSAL_SECONDS_MAX - 1)
            assert attendant.is_dismissed()
    assert (len(theatre.lives), life.was_killed, life.returncode) == (1, False, 0)
    assert caplog.records == [], "that it ended is no error"


async def test_who_is_dismissed_hears_a_last_word_before_its_channel_ends(
    theatre: Theatre, autojump_clock: MockClock
) -> None:
    attendant = Attendant("actor", words)
    heard: list[Order] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attendant.keep)
        life = await theatre.wait_lives(1)

        async def listen() -> None:
            while not life.is_let_go():
                heard.extend(life.heard())
                await trio.lowlevel.checkpoint()
            life.exit()

        nursery.start_soon(listen)
        with trio.fail_after(1_000):
            await attendant.dismiss(Order(Command.DRAIN))
    assert heard == [Order(Command.DRAIN)]


async def test_a_last_word_that_is_not_read_holds_nobody_up_for_longer(
    theatre: Theatre, autojump_clock: MockClock
) -> None:
    attendant = Attendant("actor", words, first=lambda: Order(Command.CONFIGURE, "x" * 4_000_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attendant.keep)
        life = await theatre.wait_lives(1)
        began = trio.current_time()
        await attendant.dismiss(Order(Command.DRAIN))
        assert trio.current_time() - began == pytest.approx(DISMISSAL_SECONDS_MAX)
        nursery.cancel_scope.cancel()
    assert life.was_killed


async def test_one_that_does_not_end_is_waited_for_so_long_and_killed_by_who_cancels(
    theatre: Theatre, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    attendant = Attendant("actor", words)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attendant.keep)
        life = await theatre.wait_lives(1)
        began = trio.current_time()
        await attendant.dismiss()
        assert trio.current_time() - began == pytest.approx(DISMISSAL_SECONDS_MAX)
        assert not life.was_killed
        assert f"the actor has not ended in {DISMISSAL_SECONDS_MAX:g} s" in caplog.text
        nursery.cancel_scope.cancel()
    assert (len(theatre.lives), life.was_killed) == (1, True)


async def test_who_is_dismissed_while_it_is_down_is_not_waited_for_and_not_started_again(
    theatre: Theatre, autojump_clock: MockClock
) -> None:
    attendant = Attendant("actor", words)
    with trio.fail_after(1_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attendant.keep)
            (await theatre.wait_lives(1)).exit(1)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await attendant.dismiss()
            assert trio.current_time() == began
    assert len(theatre.lives) == 1


async def test_one_that_was_never_kept_is_dismissed(autojump_clock: MockClock) -> None:
    await Attendant("actor", words).dismiss()
    assert trio.current_time() < 1


@pytest.mark.parametrize("at", ["it starts", "it lives", "it is told", "it is down"])
async def test_at_any_moment_it_may_be_cancelled_and_nothing_is_left(
    theatre: Theatre, autojump_clock: MockClock, at: str
) -> None:
    first = (lambda: Order(Command.CONFIGURE, "x" * 4_000_000)) if at == "it is told" else None
    attendant = Attendant("actor", words, first=first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attendant.keep)
        if at != "it starts":
            life = await theatre.wait_lives(1)
            if at == "it is down":
                life.exit()
                await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert attendant.incarnation == ""
    assert [life.was_killed for life in theatre.lives] == [at != "it is down"] * len(theatre.lives)


# -- a real one --------------------------------------------------------------------------------------------------------

ACTOR = """
    import os, signal, socket, sys

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = socket.socket(fileno=int(sys.argv[-1])).makefile("rb")
    name = sys.argv[sys.argv.index("--incarnation") + 1]
    with open(os.environ["PROMPT_BOOK"], "a", buffering=1) as book:
        print(os.getpid(), name, file=book)
        for line in channel:
            print("heard", line.decode().strip(), file=book)
        print("left", name, file=book)
"""


class Book:
    """What real processes write down."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def wait_line(self, word: str, count: int = 1) -> list[str]:
        """Return the first line, of so many, that has the word."""
        with trio.fail_after(20):
            while True:
                lines = self.path.read_text().splitlines() if self.path.exists() else []
                if len(found := [line for line in lines if word in line]) >= count:
                    return found[count - 1].split()
                await trio.sleep(0.01)


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    (tmp_path / "actor.py").write_text(textwrap.dedent(ACTOR))
    made = Book(tmp_path / "book")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PROMPT_BOOK", str(made.path))
    return made


async def test_a_real_process_is_told_replaced_when_killed_and_ends_when_it_is_let_go(book: Book) -> None:
    attendant = Attendant("actor", words, first=lambda: Order(Command.CONFIGURE, "text"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attendant.keep)
        pid, name = await book.wait_line("actor-")
        assert name == attendant.incarnation
        await book.wait_line('heard {"command":"configure","config":"text"')
        os.kill(int(pid), signal.SIGKILL)
        _, another = await book.wait_line("actor-", 2)
        assert another == attendant.incarnation != name
        await attendant.tell(RELOAD)
        await book.wait_line('heard {"command":"reload","config":"new"')
        with trio.fail_after(20):
            await attendant.dismiss()
    await book.wait_line(f"left {another}")
    assert f"left {name}" not in book.path.read_text()


async def test_a_real_process_does_not_survive_cancellation(book: Book) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Attendant("actor", words).keep)
        pid, name = await book.wait_line("actor-")
        process = psutil.Process(int(pid))
        nursery.cancel_scope.cancel()
    assert not process.is_running()
    assert f"left {name}" not in book.path.read_text(), "it was killed"


class Signs:
    """Counts the signs of life that arrive."""

    def __init__(self) -> None:
        self.count = 0
        self._more = trio.Event()

    def come(self) -> None:
        """Count one."""
        self.count += 1
        self._more.set()
        self._more = trio.Event()

    async def wait(self, count: int) -> None:
        """Wait until there were so many."""
        with trio.fail_after(60):
            while self.count < count:
                await self._more.wait()


@pytest.fixture
def signs(monkeypatch: pytest.MonkeyPatch) -> Signs:
    made, hear = Signs(), Channel.hear

    async def counted(channel: Channel) -> bool:
        heard = await hear(channel)
        if heard:
            made.come()
        return heard

    monkeypatch.setattr(Channel, "hear", counted)
    return made


@pytest.mark.parametrize("name", ["clerk", "console"])
async def test_our_own_give_signs_of_life_and_are_replaced_when_they_are_stopped(
    tmp_path: Path, signs: Signs, mock_clock: MockClock, nursery: trio.Nursery, name: str
) -> None:
    options = ["--runtime", str(tmp_path), "--data", str(tmp_path / "data")]
    started: list[str] = []

    def command(incarnation: str) -> list[str]:
        started.append(incarnation)
        return [f"engine.{name}", *options, *(["--incarnation", incarnation] if name == "clerk" else [])]

    mock_clock.rate = 1.0
    nursery.start_soon(Attendant(name, command, first=lambda: Order(Command.CONFIGURE)).keep)
    await signs.wait(3)
    (process,) = (each for each in psutil.Process().children() if f"engine.{name}" in each.cmdline())
    process.suspend()
    for _ in range(1_000):
        if len(started) > 1:
            break
        mock_clock.jump(SILENCE_SECONDS_MAX)  # a sign that is under way may come after the first
        await trio.sleep(0.01)
    assert not process.is_running()
    seen = signs.count
    await signs.wait(seen + 2)
    nursery.cancel_scope.cancel()
