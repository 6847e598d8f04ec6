"""The documentation is true: Python blocks run, commands exist and take the options that are shown.

The Python blocks of a page run top to bottom in one module. A block below `<!-- not run: reason -->` is only compiled.
A ```console (or sh) block is read line by line: `manage.py` commands must parse and `make` targets must exist.
"""

from __future__ import annotations

import itertools
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
from django.core.management import CommandError, get_commands, load_command_class

from django_jobqueue.jobs import registry
from django_jobqueue.scheduling import chores

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("README.md")])
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: \S(?:(?!-->).)*-->\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int  # of its first line of text, from 1
    is_run: bool


def blocks(page: str, *languages: str) -> Iterator[Block]:
    for match in FENCE.finditer(page):
        if match["language"] in languages:
            before = page[: match.start()]
            line = before.count("\n") + 2
            yield Block(match["language"], textwrap.dedent(match["text"]), line, not NOT_RUN.search(before))


def run_python(page: str, path: Path, name: str) -> None:
    """Run a page's blocks in one module; errors show the page's own file and line."""
    module = ModuleType(name)
    sys.modules[name] = module  # a task must live in an importable module
    try:
        with patch.dict(registry._definitions), patch.dict(chores._registered):  # its tasks are nobody else's
            for block in blocks(page, "python", "py"):
                code = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
                if block.is_run:
                    exec(code, vars(module))  # noqa: S102 - our own documentation
    finally:
        del sys.modules[name]


def commands(page: str) -> Iterator[tuple[int, list[str]]]:
    """Each command line in the page's console blocks, as words, without prompt, comment, pipe or redirection."""
    for block in blocks(page, "console", "sh", "shell", "bash"):
        has_prompts = any(line.startswith("$ ") for line in block.text.splitlines())
        for offset, line in enumerate(block.text.replace("\\\n", "  ").splitlines()):
            if has_prompts and not line.startswith("$ "):
                continue  # output
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="&|;>")
            lexer.whitespace_split = True
            for is_separator, part in itertools.groupby(lexer, key=lambda word: set(word) <= set("&|;>")):
                if not is_separator:
                    yield block.line + offset, list(part)


def fault(words: list[str], targets: set[str]) -> str:
    """What is wrong with a command line, if anything."""
    if words[0] == "make":
        unknown = [word for word in words[1:] if "=" not in word and not word.startswith("-") and word not in targets]
        return f"no make target {unknown[0]}" if unknown else ""
    place = next((n for n, word in enumerate(words[:3]) if word.endswith("manage.py")), None)
    if place is None or len(words) < place + 2:
        return ""
    return manage_fault(words[place + 1], words[place + 2 :])


def manage_fault(name: str, arguments: list[str]) -> str:
    if (ROOT / "example_project").exists() and any((ROOT / "example_project").rglob(f"management/commands/{name}.py")):
        return ""
    if name not in get_commands():
        return f"no command {name}"
    if name == "runserver":  # its parser needs the staticfiles of the project it runs in
        return ""
    command = load_command_class(get_commands()[name], name)
    try:
        command.create_parser("manage.py", name).parse_args(arguments)
    except (CommandError, SystemExit) as error:
        return f"{name}: {error}"
    return ""


def make_targets() -> set[str]:
    makefile = ROOT / "Makefile"
    return set(re.findall(r"^([a-z][\w-]*):", makefile.read_text(), re.MULTILINE)) if makefile.exists() else set()


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_python_blocks_run(path):
    run_python(path.read_text(), path, "docs_" + re.sub(r"\W", "_", page_id(path)))


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_commands_exist(path):
    targets = make_targets()
    faults = [
        f"{page_id(path)}:{line}: {said}"
        for line, words in commands(path.read_text())
        if (said := fault(words, targets))
    ]
    assert faults == []


# The checks above can fail.

PAGE = """
# A page

```python
answer = 41
```

<!-- not run: it would take a day -->
```python
raise SystemExit
```

1. in a list

   ```python
   answer += 1
   assert answer == {expected}
   ```

```console
$ python manage.py migrate --no-such-option | cat
$ make nothing ARGS=1   # a comment
output
$ ./manage.py no_such_command && python manage.py check --fail-level WARNING
```
"""


def test_a_block_that_fails_is_noticed():
    run_python(PAGE.format(expected=42), Path("page.md"), "docs_selftest")
    with pytest.raises(AssertionError) as caught:
        run_python(PAGE.format(expected=43), Path("page.md"), "docs_selftest")
    assert caught.traceback[-1].lineno + 1 == 17
    assert "docs_selftest" not in sys.modules


def test_a_wrong_command_is_noticed():
    said = [fault(words, {"demo"}) for _, words in commands(PAGE)]
    assert "no-such-option" in said[0]
    assert [text for text in said[1:] if text] == ["no make target nothing", "no command no_such_command"]
