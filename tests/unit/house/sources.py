"""The rules of the house that no linter knows, each as a function from source text to findings.

A finding is `file:line: what is wrong`, so that an editor can jump there.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.tools import leftovers

ROOT = Path(__file__).resolve().parents[3]
ENGINE = ("flowgate_engine",)
PROGRAM = ("flowgate_engine", "flowgate_tui")
TESTS = ("tests",)

#: Joined here, so that this file does not break its own rule.
_FORBIDDEN = (
    "pypi" + ".org",
    "python" + "hosted",
    "/tmp" + "/lab",
)
_WORK = re.compile(r"(?<![\w.~-])/work/\w")
_HARMLESS = r"(?:[^\s/@]*@)?(?:127\.|localhost|\[::1\]|[\w.-]*\.(?:test|invalid|example)\b)"
_INDEX = re.compile(rf"https?://(?!{_HARMLESS})[^\s\"'`]+/simple\b")


class Source(NamedTuple):
    """One Python file of the project."""

    name: str
    text: str

    def tree(self) -> ast.Module:
        """The file as a syntax tree."""
        return ast.parse(self.text, self.name)

    def line(self, number: int) -> str:
        """One line, counted from 1."""
        return self.text.splitlines()[number - 1]


def python_files(folders: tuple[str, ...]) -> list[Source]:
    """All Python files below `folders`, committed or not."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Source(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8")) for p in paths]


def project_files() -> list[str]:
    """Everything that is or could be committed, relative to the root; without git all but caches."""
    if not (ROOT / ".git").exists():
        return sorted(name for name in leftovers.files(ROOT) if (ROOT / name).is_file())
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return sorted(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def undocumented(source: Source) -> Iterator[str]:
    """Public functions and classes of a module, and public methods, that say nothing about themselves.

    Properties, overrides of another library's hooks (`on_`, `action_`, `watch_`, `compose`), methods of
    private classes and of protocols, whose docstring says it for all, are left to their names.
    """

    def visit(body: list[ast.stmt], inside: bool) -> Iterator[str]:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name[0] == "_":
                continue
            if not ast.get_docstring(node) and not (inside and _speaks_for_itself(node)):
                yield f"{source.name}:{node.lineno}: {node.name} has no docstring"
            if isinstance(node, ast.ClassDef) and not any(ast.unparse(b).startswith("Protocol") for b in node.bases):
                yield from visit(node.body, True)

    yield from visit(source.tree().body, False)


_HOOKS = ("on_", "action_", "watch_", "validate_", "compute_", "do_", "visit_")
_HOOK_NAMES = {"compose", "render", "main", "handle", "emit", "format", "log_message", "dispatch", "run"}


def _speaks_for_itself(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    if isinstance(node, ast.ClassDef):
        return False
    decorated = any("property" in ast.unparse(d) or ".setter" in ast.unparse(d) for d in node.decorator_list)
    return decorated or node.name.startswith(_HOOKS) or node.name in _HOOK_NAMES


_BROAD = {"Exception", "BaseException"}


def broad_excepts(source: Source) -> Iterator[str]:
    """`except Exception`, `except BaseException`, a bare one, or suppress() of these, without `# why:`."""
    for node in ast.walk(source.tree()):
        caught: list[ast.expr] = []
        if isinstance(node, ast.ExceptHandler):
            kind = node.type
            caught = [ast.Name("BaseException")] if kind is None else [kind]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "suppress":
            caught = list(node.args)
        else:
            continue
        names = {ast.unparse(n) for expr in caught for n in ast.walk(expr) if isinstance(n, ast.Name)}
        if names & _BROAD and "# why:" not in source.line(node.lineno):
            yield f"{source.name}:{node.lineno}: catches everything and does not say why (`# why: ...`)"


def sleeps(source: Source) -> Iterator[str]:
    """Calls of time.sleep, asyncio.sleep or a bare sleep without `# why:` on their line."""
    for node in ast.walk(source.tree()):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep", "sleep"):
            first = node.args[0] if node.args else None
            gives_way = isinstance(first, ast.Constant) and first.value == 0
            if not gives_way and "# why:" not in source.line(node.lineno):
                yield f"{source.name}:{node.lineno}: sleeps; wait for the event, or say `# why: ...`"


def fault_points(source: Source) -> Iterator[tuple[str, str]]:
    """Name and place of each point("name"); a name that is no literal comes as an empty string."""
    if source.name.endswith("io/faults.py"):
        return
    for node in ast.walk(source.tree()):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("point", "faults.point"):
            first = node.args[0] if node.args else None
            literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield (str(first.value) if literal else ""), f"{source.name}:{node.lineno}"  # type: ignore[union-attr]


def imported(source: Source) -> Iterator[tuple[str, int]]:
    """Full name and line of every module that is imported anywhere in a file; relative ones begin with dots."""
    for node in ast.walk(source.tree()):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno


def foreign_places(source: Source) -> Iterator[str]:
    """Addresses of package registries, and paths of somebody's machine."""
    for number, line in enumerate(source.text.splitlines(), 1):
        lower = line.lower()
        if any(word in lower for word in _FORBIDDEN) or _WORK.search(line) or _INDEX.search(line):
            yield f"{source.name}:{number}: names a registry or a folder of one machine: {line.strip()[:80]}"
