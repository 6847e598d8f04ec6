"""The rules of docs/explanation/architecture.md, checked by reading the source (nothing is imported).

Imports point downward only, adapters are reached by dotted path, there is no cycle, nothing is imported inside a
function, and nothing that was stored is ever executed. Each rule says why; a file that must differ is listed by name
with its reason, and the last tests break each rule on purpose to see that the checker notices.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

PACKAGE = "django_jobqueue"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

# Bottom to top: (name, its modules, why it stands there). A module imports its own layer and those before it.
LAYERS: list[tuple[str, set[str], str]] = [
    (
        "ground",
        {"conf", "exceptions", "signals", "compat", "failpoints", "version"},
        "everybody stands on it, so it may know nobody",
    ),
    ("plain values", {"jobs"}, "a job is a value: testable without a database, the same for every store"),
    ("remember", {"models", "migrations"}, "tables hold values; what moves them comes later"),
    ("wait", {"queues"}, "a store makes decisions true, it does not take them"),
    ("move", {"lifecycle"}, "the one place that decides what becomes of a job"),
    ("enter", {"decorators", "middleware", "flow"}, "what users compose; it hands jobs down to lifecycle"),
    ("run", {"workers", "scheduling"}, "they drive the layers below"),
    ("watch", {"monitoring"}, "nothing depends on being watched, so it can be removed"),
    (
        "surfaces",
        {"admin", "management", "views", "urls", "backends", "checks", "testing", "contrib"},
        "doors to the outside: a surface is called by people, Django or frameworks, never by us",
    ),
]

# The package itself offers names of every layer, lazily; the app config wires everything in ready().
FREE = {f"{PACKAGE}", f"{PACKAGE}.apps"}

# Neither may import the other: (one, other, why).
SEPARATE = [
    ("workers", "scheduling", "a machine may run only one of them"),
    ("scheduling", "workers", "a machine may run only one of them"),
    ("queues.orm", "queues.redis", "a store must work when the other's driver is not installed"),
    ("queues.redis", "queues.orm", "a store must work when the other's driver is not installed"),
]

# An adapter is chosen by settings and reached by dotted path, so that only that one is loaded: adapter -> who may.
ADAPTERS = {
    "queues.orm": set(),
    "queues.redis": set(),
    "queues.memory": {"testing"},
    "queues.recorded": set(),
}

# Not installed everywhere, so imported where they are used.
OPTIONAL = {"psycopg", "redis", "django_redis", "zstd", "MySQLdb", "pymysql", "prometheus_client", "psutil"}

# A string becomes an import only here, and only a string from settings or from this source: file -> why.
MAY_IMPORT_STRINGS = {
    "__init__.py": "the public names, each with its module, loaded at first use",
    "apps.py": "autodiscovery of tasks.py and jobs.py",
    "conf.py": "dotted paths in JOBQUEUE",
    "backends.py": "built when a @task line is read, before apps are ready: reaches the layers below by path",
    "queues/__init__.py": "the store named by a backend's OPTIONS",
    "checks/options.py": "imports what a backend's OPTIONS name, to see whether it can",
    "queues/redis/sources.py": "the function named by a backend's OPTIONS",
    "queues/redis/outbox.py": "the rows of the outbox, by the driver of the project's database and no other",
    "jobs/cron.py": "croniter, when the first expression is read",
    "queues/recurring.py": "the table of schedules, by the driver of the project's database and no other",
    "queues/orm/queue.py": "the dialect of a database's vendor, so that only its driver is needed",
    "middleware/__init__.py": "the middleware list in JOBQUEUE",
}
STRING_IMPORTERS = {"import_string", "import_module", "__import__"}

# A lease, a delay and a place in the line are told by the store's clock: a host whose own is wrong must change nothing.
# These read the machine's: file -> why.
MAY_READ_THE_MACHINES_CLOCK = {
    "queues/orm/sqlite.py": "a file has no clock: the machine's is the store's",
    "queues/memory/moves.py": "it lives in this process",
    "queues/redis/register.py": "rows for people to look at; the lease is kept in Redis, by its clock",
    "queues/redis/inspecting.py": "looks at these rows",
}
CLOCKS = {("timezone", "now"), ("datetime", "now"), ("datetime", "utcnow"), ("time", "time")}

# Code hidden in data. A row of ours may be written by anybody who can write to the database.
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec"}


@dataclass(frozen=True)
class Import:
    """One imported module, as a full name inside the package, or the top name of somebody else's."""

    source: str
    target: str
    line: int
    inside: str = ""  # the function it stands in
    for_types_only: bool = False

    @property
    def is_ours(self) -> bool:
        return f"{self.target}.".startswith(f"{PACKAGE}.")


class Source:
    """One parsed file."""

    def __init__(self, root: Path, path: Path, modules: set[str]) -> None:
        self.path = path.relative_to(root).as_posix()
        self.module = module_name(root, path)
        self.package = self.module if path.name == "__init__.py" else self.module.rpartition(".")[0]
        self.modules = modules
        self.tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))

    @cached_property
    def imports(self) -> list[Import]:
        return list(self.imports_below(self.tree, inside="", for_types_only=False))

    def imports_below(self, node: ast.AST, inside: str, for_types_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                for target in self.targets(child):
                    yield Import(self.module, target, child.lineno, inside, for_types_only)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self.imports_below(child, inside or child.name, for_types_only)
            elif isinstance(child, ast.If) and is_type_checking(child.test):
                yield from self.imports_below(child, inside, for_types_only=True)
            else:
                yield from self.imports_below(child, inside, for_types_only)

    def targets(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = self.absolute(node)
        for alias in node.names:
            # `from package import module` imports the module; `from module import name` imports the module it is in
            full = f"{base}.{alias.name}"
            yield full if full in self.modules else base

    def absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.package.split(".")
        parts = parts[: len(parts) - node.level + 1]
        return ".".join([*parts, node.module] if node.module else parts)

    def calls(self) -> Iterator[tuple[str, int]]:
        """Calls by plain name (`eval(...)`) or by the last part of a dotted one (`importlib.import_module(...)`)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name):
                    yield node.func.id, node.lineno
                elif isinstance(node.func, ast.Attribute) and node.func.attr in STRING_IMPORTERS:
                    yield node.func.attr, node.lineno


def module_name(root: Path, path: Path) -> str:
    parts = [PACKAGE, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def read(root: Path) -> list[Source]:
    paths = [path for path in sorted(root.rglob("*.py")) if "__pycache__" not in path.parts]
    modules = {module_name(root, path) for path in paths}
    return [Source(root, path, modules) for path in paths]


def inner(module: str) -> str:
    """`django_jobqueue.queues.orm` -> `queues.orm`"""
    return module.removeprefix(PACKAGE).removeprefix(".")


def is_in(module: str, area: str) -> bool:
    return f"{inner(module)}.".startswith(f"{area}.")


def level(module: str) -> int | None:
    top = inner(module).split(".")[0]
    return next((n for n, (_, members, _) in enumerate(LAYERS) if top in members), None)


# The rules: each takes the sources and yields one sentence per fault.


def imports_point_downward(sources: list[Source]) -> Iterator[str]:
    for source in sources:
        if source.module in FREE:
            continue
        mine = level(source.module)
        if mine is None:
            yield f"{source.path}: `{inner(source.module)}` has no layer; give it one in LAYERS, with the reason"
            continue
        for found in source.imports:
            if not found.is_ours:
                continue
            theirs = level(found.target)
            if theirs is None:
                yield f"{source.path}:{found.line} imports {found.target}: import the module where the name lives"
            elif theirs > mine:
                yield (
                    f"{source.path}:{found.line} ({LAYERS[mine][0]}) imports {found.target} ({LAYERS[theirs][0]}), "
                    f"which is above it; {LAYERS[mine][0]}: {LAYERS[mine][2]}"
                )


def separate_areas_stay_separate(sources: list[Source]) -> Iterator[str]:
    for source in sources:
        for found in source.imports:
            for one, other, why in SEPARATE:
                if is_in(source.module, one) and found.is_ours and is_in(found.target, other):
                    yield f"{source.path}:{found.line} imports {found.target}: {why}"


def adapters_are_reached_by_dotted_path(sources: list[Source]) -> Iterator[str]:
    for source in sources:
        for found in source.imports:
            for adapter, allowed in ADAPTERS.items():
                if not (found.is_ours and is_in(found.target, adapter)) or is_in(source.module, adapter):
                    continue
                if not any(is_in(source.module, area) for area in allowed):
                    yield f"{source.path}:{found.line} imports the adapter {found.target}; name it by dotted path"


def imports_stand_at_the_top(sources: list[Source]) -> Iterator[str]:
    for source in sources:
        for found in source.imports:
            if not found.inside or found.target.split(".")[0] in OPTIONAL:
                continue
            if source.module == f"{PACKAGE}.apps" and found.inside == "ready":
                continue
            if source.module == PACKAGE and found.inside == "__getattr__":
                continue
            yield f"{source.path}:{found.line} imports {found.target} in {found.inside}(): it hides a wrong direction"


def there_is_no_cycle(sources: list[Source]) -> Iterator[str]:
    names = {source.module for source in sources}
    graph = {
        source.module: {
            found.target
            for found in source.imports
            if found.target in names and not found.inside and not found.for_types_only and found.target != source.module
        }
        for source in sources
    }
    done: set[str] = set()
    for start in sorted(graph):
        yield from cycles_from(start, graph, [], done)


def cycles_from(module: str, graph: dict[str, set[str]], path: list[str], done: set[str]) -> Iterator[str]:
    if module in path:
        yield "import cycle: " + " -> ".join([*path[path.index(module) :], module])
        return
    if module in done:
        return
    for target in sorted(graph[module]):
        yield from cycles_from(target, graph, [*path, module], done)
    done.add(module)


def stored_data_is_never_executed(sources: list[Source]) -> Iterator[str]:
    for source in sources:
        for found in source.imports:
            if found.target.split(".")[0] in FORBIDDEN_MODULES:
                yield f"{source.path}:{found.line} imports {found.target}: it runs code hidden in data"
        for call, line in source.calls():
            if call in FORBIDDEN_CALLS:
                yield f"{source.path}:{line} calls {call}(): it runs code hidden in data"
            elif call in STRING_IMPORTERS and source.path not in MAY_IMPORT_STRINGS:
                yield f"{source.path}:{line} calls {call}(): only MAY_IMPORT_STRINGS turn a string into code"


def stores_go_by_their_own_clock(sources: list[Source]) -> Iterator[str]:
    for source in sources:
        if not is_in(source.module, "queues") or source.path in MAY_READ_THE_MACHINES_CLOCK:
            continue
        for node in ast.walk(source.tree):
            read = (getattr(node.value, "id", ""), node.attr) if isinstance(node, ast.Attribute) else ()
            if read in CLOCKS:
                yield f"{source.path}:{node.lineno} reads the machine's clock; ask the store for its own"


RULES = [
    imports_point_downward,
    separate_areas_stay_separate,
    adapters_are_reached_by_dotted_path,
    imports_stand_at_the_top,
    there_is_no_cycle,
    stored_data_is_never_executed,
    stores_go_by_their_own_clock,
]


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return read(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule, sources):
    assert sources, f"nothing found in {ROOT}"
    assert "\n".join(rule(sources)) == ""


# The checker can fail: each rule, broken on purpose in a tiny package.

BROKEN = [
    (imports_point_downward, {"jobs/a.py": "from ..models import Job", "models/__init__.py": ""}, "above it"),
    (
        imports_point_downward,
        {"jobs/a.py": "from .. import conf, queues", "conf.py": "", "queues/__init__.py": ""},
        "wait",
    ),
    (imports_point_downward, {"workers/worker.py": "from django_jobqueue import task"}, "where the name lives"),
    (imports_point_downward, {"novelty.py": ""}, "has no layer"),
    (separate_areas_stay_separate, {"workers/a.py": "from ..scheduling import b", "scheduling/b.py": ""}, "only one"),
    (adapters_are_reached_by_dotted_path, {"flow/a.py": "from ..queues.orm import q", "queues/orm/q.py": ""}, "dotted"),
    (imports_stand_at_the_top, {"conf.py": "def f():\n    import json"}, "in f()"),
    (
        imports_stand_at_the_top,
        {"conf.py": "class A:\n    def f(self):\n        if 1:\n            import json"},
        "in f()",
    ),
    (there_is_no_cycle, {"jobs/a.py": "from . import b", "jobs/b.py": "from .a import x"}, "jobs.a -> "),
    (stored_data_is_never_executed, {"conf.py": "from pickle import loads"}, "hidden in data"),
    (stored_data_is_never_executed, {"conf.py": "eval('1')"}, "calls eval()"),
    (stored_data_is_never_executed, {"jobs/codec.py": "import_string(path)"}, "calls import_string()"),
    (stores_go_by_their_own_clock, {"queues/orm/a.py": "from django.utils import timezone\ntimezone.now()"}, "its own"),
    (stored_data_is_never_executed, {"models/a.py": "import importlib\nimportlib.import_module(x)"}, "import_module()"),
]

ALLOWED = {
    "__init__.py": "def __getattr__(name):\n    from .models import Job\n    return Job",
    "apps.py": "class A:\n    def ready(self):\n        from . import models, workers",
    "conf.py": "import json\nimport_string('a.b')\ndef f():\n    import psycopg",
    "jobs/__init__.py": "",
    "jobs/payload.py": "from . import status\nfrom ..conf import x",
    "jobs/status.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .payload import P",
    "models/__init__.py": "from .job import Job",
    "models/job.py": "from django_jobqueue.jobs.payload import P",
    "queues/__init__.py": "",
    "queues/orm/__init__.py": "from .postgres import P",
    "queues/orm/postgres.py": "from ...models import Job",
    "workers/__init__.py": "from ..models import Job",
}


def write(root: Path, files: dict[str, str]) -> list[Source]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read(root)


@pytest.mark.parametrize(("rule", "files", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_noticed(tmp_path, rule, files, said):
    faults = list(rule(write(tmp_path, files)))
    assert len(faults) == 1
    assert said in faults[0]


def test_what_is_allowed_passes(tmp_path):
    sources = write(tmp_path, ALLOWED)
    assert [fault for rule in RULES for fault in rule(sources)] == []
