"""The rules of the house that a machine can check, as tests: one rule, one test, every offence in its message.

Formatting, types and docstrings of functions are ruff's and mypy's. Here stands what they cannot know: who may import
whom, where a name may stand, what a file may be called and how long it may get, what a lock file may say. An exception
is a row in a table with its reason, not a comment at the offence.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("adapters", "bench", "engine", "store", "tests")

TOP_LEVEL = {"pyproject.toml", "README.md", "Makefile", "LICENSE", *PACKAGES}
"""And lock files, and what begins with a dot."""

MAY_IMPORT = {
    "adapters": {"adapters"},
    "store": {"store"},
    "bench": {"bench", "adapters", "store"},
    "engine": {"engine", "adapters", "store"},
    "tests": set(PACKAGES),
}

IMPURE = {"asyncio", "anyio", "datetime", "multiprocessing", "random", "secrets", "select", "signal", "socket"} | {
    *("ssl", "subprocess", "tempfile", "threading", "time", "trio", "uuid"),
}
"""Modules that wait, look at a clock, throw dice or touch the machine; `adapters` does none of it."""

ORDINARY_WORDS = {"chat", "compatible", "legacy", "local", "messages", "responses", "scripted", "together"}
"""Names of dialects and providers that are English too: as identifiers they may mean what they say."""


class Allowed(NamedTuple):
    """Names that may stand in a file, and why."""

    names: frozenset[str]
    reason: str


NOWHERE = Allowed(frozenset(), "")

NAMES_MAY_STAND = {
    "engine/routes.py": Allowed(
        frozenset({"chat", "legacy", "responses", "messages", "gemini", "anthropic"}), "the literal route table"
    ),
    "adapters/dialects/chat_message.py": Allowed(frozenset({"messages"}), "a JSON member"),
    "adapters/dialects/chat_routing.py": Allowed(frozenset({"messages"}), "a JSON member"),
    "adapters/providers/__init__.py": Allowed(frozenset({"responses"}), "a kind of WebSocket session"),
    "engine/config/options.py": Allowed(frozenset({"responses"}), "a kind of WebSocket session, in an explanation"),
    "adapters/capability_table.py": Allowed(
        frozenset({"gemini", "deepseek", "mistral", "responses"}), "models are named after their vendors"
    ),
    "bench/codec_corpus.py": Allowed(
        frozenset({"chat", "responses", "messages", "gemini"}), "streams and requests of every dialect"
    ),
    "bench/micro.py": Allowed(frozenset({"chat", "messages"}), "two clients to measure growth with"),
    "engine/console/app.py": Allowed(frozenset({"anthropic"}), "the paths below which an error is JSON"),
    "engine/config/providers.py": Allowed(frozenset({"compatible"}), "the default of a provider's kind"),
    "engine/console/page.py": Allowed(
        frozenset({"chat", "openai", "messages", "anthropic", "gemini"}), "base URLs and snippets for a visitor to copy"
    ),
    "engine/demo/screen.py": Allowed(frozenset({"openai", "messages"}), "snippets for a reader to copy"),
    "engine/demo/show.py": Allowed(
        frozenset({"local", "scripted", "messages"}), "configures the upstreams that need no account, and asks one"
    ),
    "engine/demo/local_model.py": Allowed(frozenset({"local"}), "runs the process that one provider describes"),
    "bench/answers.py": Allowed(frozenset({"scripted"}), "the scripted upstream itself"),
    "bench/client.py": Allowed(frozenset({"messages"}), "a JSON member"),
    "bench/asking.py": Allowed(frozenset({"chat", "responses", "messages", "gemini"}), "a client of every dialect"),
    "bench/dialects/__init__.py": Allowed(frozenset({"gemini"}), "the dialects of the scripted upstream"),
    "bench/dialects/chat.py": Allowed(frozenset({"messages"}), "a JSON member"),
    "bench/dialects/messages.py": Allowed(frozenset({"messages", "anthropic"}), "a JSON member, and a header"),
    "bench/upstream.py": Allowed(frozenset({"scripted"}), "the scripted upstream itself"),
    "bench/peers/litellm.py": Allowed(frozenset({"openai"}), "how that peer is told whose API its upstream speaks"),
    "bench/peers/portkey.py": Allowed(frozenset({"openai"}), "how that peer is told whose API its upstream speaks"),
    "bench/subjects.py": Allowed(frozenset({"ollama"}), "the variables that would register providers in a measurement"),
}
"""Where, outside its own file and the tests, a dialect's or a provider's name may stand, and why."""

MAY_KNOW = {
    ("adapters.dialects", "legacy"): ("chat", "the API that followed it, made by the same vendor in the same envelope"),
}
"""Which dialect may be made of another one's parts, and why."""

BROAD_HANDLERS = {
    "engine/serve.py": "the outermost layer of a connection",
    "engine/pipeline.py": "the outermost layer of an exchange",
}
"""Where every exception may be caught without being raised again, and why."""

FILE_LINES_MAX = {"tests": 900}
"""A table of cases may be long: it is read where it failed."""

FILE_LINES_MAX_ELSEWHERE = 400
FUNCTION_LINES_MAX = 70

FAKES = {"store/memory.py": "the twin of the store, which the same tests verify, for tests that need no file"}
"""What only tests import, and why it stands beside the real thing."""

COMES_WITH = {
    "quart": "quart-trio",  # an application on quart-trio is written with quart
    "werkzeug": "quart-trio",  # and answers with werkzeug's exceptions
    "httpx2": "openai",  # the SDK's transport, which its tests replace
    "pydantic": "openai",  # whose types the SDKs' requests and answers are
    "typing_extensions": "openai",  # which annotates those types with it
    "wsproto": "hypercorn",  # which frames WebSockets with it, so tests do too
}
"""What may be imported because a declared dependency is made to be used together with it."""

VAGUE_NAMES = {"common", "data", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
LEFTOVERS = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.~$])/(?:home|root|Users|work|workspace|mnt|opt/(?:wheels|pypi))/(?!nobody)")


@dataclass(frozen=True)
class Source:
    """One Python file of the repository."""

    path: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.path.partition("/")[0]

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def stem(self) -> str:
        return self.module.rpartition(".")[2]

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the full dotted name of everything imported."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                package = self.module if self.path.endswith("__init__.py") else self.module.rpartition(".")[0]
                parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*parents, *([node.module] if node.module else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


Rule = Callable[[Source], Iterator[tuple[int, str]]]
"""Yields the line and the sentence of every offence in one file."""


@cache
def sources() -> tuple[Source, ...]:
    found: list[Source] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found.append(Source(path.relative_to(ROOT).as_posix(), text, ast.parse(text, str(path))))
    return tuple(found)


@cache
def modules() -> frozenset[str]:
    return frozenset(source.module for source in sources())


def module_of(name: str) -> str:
    """Return the module of ours that `package.module.thing` is imported from."""
    return name if name in modules() else name.rpartition(".")[0]


def family(stem: str) -> str:
    """Return what a dialect's or provider's file belongs to: chat_tap to chat."""
    return stem.partition("_")[0]


@cache
def wire_names() -> frozenset[str]:
    """The names of all dialects and providers."""
    folders = (ROOT / "adapters" / "dialects", ROOT / "adapters" / "providers")
    return frozenset(family(path.stem) for folder in folders for path in folder.glob("[a-z]*.py"))


# -- rules about one file ----------------------------------------------------------------------------------------------


def imports_point_one_way(source: Source) -> Iterator[tuple[int, str]]:
    for line, name in source.imports():
        package = name.partition(".")[0]
        if package in PACKAGES and package not in MAY_IMPORT[source.package]:
            yield line, f"{source.package} may not import {package} ({name})"


def dialects_and_providers_do_not_know_each_other(source: Source) -> Iterator[tuple[int, str]]:
    folder, _, _ = source.module.rpartition(".")
    if folder not in {"adapters.dialects", "adapters.providers"}:
        return
    for line, name in source.imports():
        module = module_of(name)
        other, _, stem = module.rpartition(".")
        own = {family(source.stem), MAY_KNOW.get((folder, family(source.stem)), ("", ""))[0]}
        if other in {"adapters.dialects", "adapters.providers"} and (other != folder or family(stem) not in own):
            yield line, f"{source.stem} may not know {module}"


def adapters_are_pure(source: Source) -> Iterator[tuple[int, str]]:
    if source.package != "adapters":
        return
    for line, name in source.imports():
        if name.partition(".")[0] in IMPURE:
            yield line, f"adapters may not import {name}: it waits, tells the time, throws dice or touches the machine"


def names_stand_in_their_own_file(source: Source) -> Iterator[tuple[int, str]]:
    if source.package == "tests":
        return
    own = family(source.stem) if source.module.startswith(("adapters.dialects.", "adapters.providers.")) else ""
    # A provider says which dialects it speaks: to it, as to the route table, their names are data.
    if source.module.startswith("adapters.providers."):
        spoken = {family(path.stem) for path in (ROOT / "adapters" / "dialects").glob("[a-z]*.py")}
    else:
        spoken = set()
    of_parts = {MAY_KNOW.get((source.module.rpartition(".")[0], own), ("", ""))[0]}
    foreign = wire_names() - {own} - of_parts - spoken - NAMES_MAY_STAND.get(source.path, NOWHERE).names
    distinctive = foreign - ORDINARY_WORDS
    either = "|".join(sorted(distinctive))
    # In a vendor's own file an address may hold another's name: it says whose API is imitated.
    inside = re.compile(rf"\b(?:{either})\b|\b(?:{either.upper()})_" if either and not own else r"(?!)")
    for line, name in source.imports():
        folder, _, stem = module_of(name).rpartition(".")
        if folder in {"adapters.dialects", "adapters.providers"} and family(stem) in foreign:
            yield line, f"{name} is imported by name: the registry finds it"
    for line, kind, text in _words(source.tree):
        if kind == "literal" and (text in foreign or inside.search(text)):
            yield line, f"the literal {text!r} names a dialect or provider: that belongs into its own file"
        elif kind == "identifier" and distinctive & set(text.lower().split("_")):
            yield line, f"the identifier {text} names a dialect or provider: that belongs into its own file"


def _words(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield every identifier and every string literal but the docstrings."""
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):  # walked before the constant itself
                docstrings.add(id(node.value))
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield node.lineno, "literal", text
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
                yield node.lineno, "identifier", text
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, "identifier", text
            case ast.alias(name=text):
                yield node.lineno, "identifier", text.replace(".", "_")
            case _:
                pass


def errors_are_not_swallowed(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and _called(node) == "suppress" and any(map(_is_broad, node.args)):
            yield node.lineno, "suppresses every exception"
        # Beside other handlers a pass tells cases apart; alone it swallows.
        if isinstance(node, ast.Try) and len(node.handlers) == 1 and _does_nothing(node.handlers[0]):
            yield node.handlers[0].lineno, "swallows an error: say contextlib.suppress, or do something about it"
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield node.lineno, "a bare except"
        elif _is_broad(node.type) and source.path not in BROAD_HANDLERS and not _raises_again(node):
            yield node.lineno, "catches every exception and does not raise it again"


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _is_broad(node: ast.expr) -> bool:
    kinds = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"} for kind in kinds)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and (last.exc is None or last.cause is not None)


def _does_nothing(handler: ast.ExceptHandler) -> bool:
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))  # a docstring, an ellipsis
        for statement in handler.body
    )


def modules_say_what_they_decide(source: Source) -> Iterator[tuple[int, str]]:
    docstring = ast.get_docstring(source.tree) or ""
    if len(docstring) < len("Tests of x.") or "Placeholder" in docstring:
        yield 1, "a module opens with a docstring that says what it decides"


def files_and_functions_fit_a_head(source: Source) -> Iterator[tuple[int, str]]:
    lines_max = FILE_LINES_MAX.get(source.package, FILE_LINES_MAX_ELSEWHERE)
    lines = source.text.count("\n")
    if lines > lines_max:
        yield lines, f"the file has {lines} lines, {lines_max} are the most: split it along its second theory"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {length} lines, {FUNCTION_LINES_MAX} are the most"


def names_say_something(source: Source) -> Iterator[tuple[int, str]]:
    vague = VAGUE_NAMES & set(re.split(r"[._]", source.module))
    if vague:
        yield 1, f"{', '.join(sorted(vague))} says nothing about what is inside"


def nothing_is_left_over(source: Source) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(source.text.splitlines(), 1):
        found = LEFTOVERS.search(line)
        if found is not None:
            yield number, f"{found[0]}: do it or open an issue"


def every_module_is_used(source: Source) -> Iterator[tuple[int, str]]:
    if source.package == "tests" or source.path.endswith(("__init__.py", "__main__.py")) or "__main__" in source.text:
        return
    if source.module.startswith(("adapters.dialects.", "adapters.providers.")) and source.stem == family(source.stem):
        return  # the registry finds it
    if source.module not in _imported() and source.path not in FAKES:
        yield 1, "no module imports this one, and it is no program"


@cache
def _imported() -> frozenset[str]:
    return frozenset(
        module_of(name)
        for source in sources()
        if source.package != "tests"
        for _, name in source.imports()
        if name.partition(".")[0] in PACKAGES and module_of(name) != source.module
    )


def what_is_imported_is_declared(source: Source) -> Iterator[tuple[int, str]]:
    declared = _declared()["run"] | (_declared()["dev"] if source.package in {"bench", "tests"} else set())
    installed = _installed()
    for line, name in source.imports():
        package = name.partition(".")[0]
        if package in PACKAGES or package in sys.stdlib_module_names:
            continue
        distributions = {_normal(distribution) for distribution in installed.get(package, [package])}
        distributions |= {COMES_WITH.get(package, package)}
        if not distributions & declared:
            yield line, f"{package} is not a dependency in pyproject.toml"


@cache
def _installed() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def _declared() -> dict[str, set[str]]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    run = [*project["dependencies"], *(word for extra in project["optional-dependencies"].values() for word in extra)]
    dev = [word for group in pyproject["dependency-groups"].values() for word in group]
    return {"run": {_normal(word) for word in run}, "dev": {_normal(word) for word in dev}}


def _normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~;@ ]", requirement, maxsplit=1)[0]).lower()


RULES: tuple[Rule, ...] = (
    imports_point_one_way,
    dialects_and_providers_do_not_know_each_other,
    adapters_are_pure,
    names_stand_in_their_own_file,
    errors_are_not_swallowed,
    modules_say_what_they_decide,
    files_and_functions_fit_a_head,
    names_say_something,
    nothing_is_left_over,
    every_module_is_used,
    what_is_imported_is_declared,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    offences = [f"{source.path}:{line}: {message}" for source in sources() for line, message in rule(source)]
    assert not offences, f"{len(offences)} offences\n" + "\n".join(offences)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (imports_point_one_way, "adapters/x.py", "from engine.net import Stream"),
        (imports_point_one_way, "bench/x.py", "import engine"),
        (imports_point_one_way, "store/x.py", "import adapters.usage"),
        (dialects_and_providers_do_not_know_each_other, "adapters/dialects/x.py", "from adapters.dialects import chat"),
        (dialects_and_providers_do_not_know_each_other, "adapters/dialects/x.py", "from .chat_tap import Tap"),
        (dialects_and_providers_do_not_know_each_other, "adapters/providers/x.py", "import adapters.dialects.chat"),
        (adapters_are_pure, "adapters/x.py", "from time import monotonic"),
        (names_stand_in_their_own_file, "engine/x.py", "if provider == 'local': pass"),
        (names_stand_in_their_own_file, "engine/x.py", "address = 'https://api.mistral.ai'"),
        (names_stand_in_their_own_file, "engine/x.py", "key = environ['GROQ_API_KEY']"),
        (names_stand_in_their_own_file, "engine/x.py", "def is_mistral(): pass"),
        (names_stand_in_their_own_file, "adapters/x.py", "from adapters.providers.groq import PROVIDER"),
        (errors_are_not_swallowed, "engine/x.py", "try: f()\nexcept: raise"),
        (errors_are_not_swallowed, "engine/x.py", "try: f()\nexcept Exception: log()"),
        (errors_are_not_swallowed, "engine/x.py", "try: f()\nexcept (OSError, BaseException): log()"),
        (errors_are_not_swallowed, "engine/x.py", "try: f()\nexcept OSError: pass"),
        (errors_are_not_swallowed, "engine/serve.py", "try: f()\nexcept Exception: ..."),
        (errors_are_not_swallowed, "engine/x.py", "with suppress(Exception): f()"),
        (modules_say_what_they_decide, "engine/x.py", "x = 1"),
        (files_and_functions_fit_a_head, "engine/x.py", "x = 1\n" * 401),
        (files_and_functions_fit_a_head, "engine/x.py", "def f():\n" + "    x = 1\n" * 70),
        (names_say_something, "engine/string_utils.py", ""),
        (names_say_something, "engine/helpers/x.py", ""),
        (nothing_is_left_over, "engine/x.py", "# TO" + "DO: later"),
        (every_module_is_used, "engine/nobody_imports_this.py", ""),
        (what_is_imported_is_declared, "engine/x.py", "import pytest"),
        (what_is_imported_is_declared, "tests/x.py", "import no_such_package"),
    ],
)
def test_the_rule_finds(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text, ast.parse(text))))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (dialects_and_providers_do_not_know_each_other, "adapters/dialects/chat.py", "from .chat_tap import Tap"),
        (
            dialects_and_providers_do_not_know_each_other,
            "adapters/dialects/x.py",
            "from adapters.dialects import Dialect",
        ),
        (names_stand_in_their_own_file, "engine/x.py", '"""Like groq."""\nx = 1\n"""Not as openai does."""'),
        (names_stand_in_their_own_file, "engine/x.py", "local = together = chat()"),
        (
            names_stand_in_their_own_file,
            "adapters/providers/groq.py",
            "PROVIDER = Provider('groq', '/openai/v1', 'chat')",
        ),
        (errors_are_not_swallowed, "engine/x.py", "try: f()\nexcept BaseException:\n    close()\n    raise"),
        (errors_are_not_swallowed, "engine/x.py", "try: f()\nexcept KeyError: pass\nexcept OSError: g()"),
        (errors_are_not_swallowed, "engine/serve.py", "try: f()\nexcept Exception: log()"),
        (nothing_is_left_over, "engine/x.py", "# what one has to do"),
    ],
)
def test_the_rule_lets_pass(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(Source(path, text, ast.parse(text))))


def test_there_is_something_to_look_at() -> None:
    assert {source.package for source in sources()} >= {"adapters", "bench", "engine", "tests"}
    assert {"chat", "local"} <= wire_names()


@pytest.mark.parametrize("table", [NAMES_MAY_STAND, BROAD_HANDLERS], ids=["names", "handlers"])
def test_exceptions_are_for_files_that_exist(table: dict[str, object]) -> None:
    assert [path for path in table if not (ROOT / path).is_file()] == []


# -- rules about the tree ----------------------------------------------------------------------------------------------


@cache
def tracked() -> tuple[str, ...]:
    """Every file that is, or by the next commit will be, in the repository; without git, every file of the packages."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        return tuple(path for path in listed.split("\0") if path and (ROOT / path).is_file())
    return tuple(source.path for source in sources())


def test_the_top_level_holds_only_what_belongs_there() -> None:
    entries = {path.partition("/")[0] for path in tracked()}
    strangers = {entry for entry in entries - TOP_LEVEL if not entry.startswith(".") and not entry.endswith(".lock")}
    assert not strangers, f"move them into a package, or out: {sorted(strangers)}"


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    offences: list[str] = []
    for path in tracked():
        content = (ROOT / path).read_bytes()
        if b"\0" in content or path == Path(__file__).relative_to(ROOT).as_posix():
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if MACHINE_PATHS.search(line):
                offences.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-local.lock"])
def test_a_lock_pins_by_hash_and_names_no_place(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    requirements = re.sub(r"\\\n\s*", "", text).splitlines()
    assert len(requirements) > 1
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==[^ ]+ .*--hash=sha256:[0-9a-f]{64}", requirement), f"{name}: {requirement[:100]}"
    for line in text.splitlines():
        assert not re.search(r"://|--(?!hash=)|\bfile:", line), f"{name} names a place or an option: {line}"


def test_the_locks_hold_every_declared_dependency() -> None:
    locks = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements.lock", "requirements-local.lock")]
    locked = {_normal(line) for lock in locks for line in lock.splitlines() if line[:1].isalnum()}
    missing = (_declared()["run"] | _declared()["dev"]) - locked
    assert not missing, f"run `make lock`: {sorted(missing)}"
