"""Does what a hint says, to the letter: an edit of a line, or a command in a shell."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_KEYBOARD = ", then the value, enter and ctrl-D"


def apply(hint: str, environ: dict[str, str]) -> None:
    """Carry out `hint`. AssertionError when it is neither a command nor an edit, or cannot be done."""
    if ", then in " in hint:
        command, _, edit = hint.partition(", then ")
        _run(command, environ, "")
        hint = edit
    if not hint.startswith("in "):
        typed = "a-value\n" if hint.endswith(_KEYBOARD) else ""
        _run(hint.removesuffix(_KEYBOARD), environ, typed)
        return
    match = re.match(r"in (.+?)(?:,| line (\d+),) ", hint)
    assert match, f"no file in the hint: {hint}"
    path = Path(match[1])
    text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    newline = "\r\n" if "\r\n" in text else "\r" if "\r" in text and "\n" not in text else "\n"
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff"))
    _edit(lines, hint[match.end() :], int(match[2] or 0) - 1)
    path.write_bytes((mark + newline.join(lines)).encode("utf-8", errors="surrogateescape"))


def _run(command: str, environ: dict[str, str], typed: str) -> None:
    if command.endswith(" config migrate"):
        command += " --yes"  # what it prints itself
    done = subprocess.run(
        ["sh", "-c", command], input=typed, env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"


def _edit(lines: list[str], what: str, at: int) -> None:
    if found := re.match(r"delete line (\d+)(.*)", what):
        _delete(lines, int(found[1]) - 1, found[2])
        return
    line = lines[at]
    if found := re.fullmatch(r'write "(.*)" instead of "(.*)"', what):
        assert found[2] in line, f"{found[2]!r} is not in {line!r}"
        lines[at] = line.replace(found[2], found[1], 1)
    elif found := re.fullmatch(r'write "(.*)" before column (\d+)', what):
        lines[at] = line[: int(found[2]) - 1] + found[1] + line[int(found[2]) - 1 :]
    elif found := re.fullmatch(r"write (.) at the end of the line", what):
        lines[at] = line + found[1]
    elif found := re.fullmatch(r"write the backslash in column (\d+) twice", what):
        column = int(found[1])
        assert line[column - 1] == "\\", line
        lines[at] = line[:column] + "\\" + line[column:]
    elif found := re.fullmatch(r"delete the (?:character|byte) in column (\d+)", what):
        lines[at] = line[: int(found[1]) - 1] + line[int(found[1]) :]
    elif found := re.fullmatch(r"delete what stands from column (\d+) on", what):
        lines[at] = line[: int(found[1]) - 1]
    elif found := re.fullmatch(r'delete "(.*)"', what):
        assert found[1] in line, f"{found[1]!r} is not in {line!r}"
        lines[at] = line.replace(found[1], "", 1)
    elif found := re.fullmatch(r'add the line "(.*)"', what):
        lines.insert(at + 1 if found[1].startswith(" ") else at, found[1])
    elif found := re.fullmatch(r"start the line with (\d+) spaces", what):
        lines[at] = " " * int(found[1]) + line.lstrip(" \t")
    elif what.startswith('put "# " in front of the line'):
        lines[at] = "# " + line
    elif what.startswith("put quotes around the key"):
        lines[at] = _quoted_key(line)
    elif what.startswith("put quotes around the value"):
        head, mark, value = _split(line)
        lines[at] = f'{head}{mark}"{value}"'
    elif found := re.match(r'write "(.*)"(?:, or .*)?$', what):
        _write(lines, at, found[1])
    elif found := re.match(r"write (os\.environ/NAME)", what):
        lines[at] = line.replace("os.environ/", found[1])
    else:
        raise AssertionError(f"not an edit: {what}")


def _delete(lines: list[str], at: int, more: str) -> None:
    depth = len(lines[at]) - len(lines[at].lstrip(" "))
    end = at + 1
    if "all lines below it" in more:
        end = len(lines)
    elif "what belongs to it" in more:
        # a list may stand as deep as its key
        deepest = depth if lines[at].lstrip().startswith("-") else depth - 1
        while end < len(lines) and lines[end].strip():
            here = len(lines[end]) - len(lines[end].lstrip(" "))
            if here <= (deepest if lines[end].lstrip().startswith("-") else depth):
                break
            end += 1
    lines[at:end] = [""] if end == len(lines) else []


def _write(lines: list[str], at: int, text: str) -> None:
    """`key: value` where that key stands: the rest of its line, or in braces up to the next comma."""
    line = lines[at]
    if text.startswith("- "):
        lines[at] = line[: line.index("- ")] + text
        return
    key = text.partition(":")[0]
    found = re.search(rf"""(?<![\w-])["']?{re.escape(key)}["']?\s*:""", line)
    assert found, f"{key!r} is not in {line!r}"
    if "{" in line[: found.start()]:
        lines[at] = line[: found.start()] + text + re.sub(r"^[^,}]*", "", line[found.end() :])
    else:
        lines[at] = line[: found.start()] + text


def _split(line: str) -> tuple[str, str, str]:
    found = re.match(r"""^(\s*(?:- )*(?:[\w.*-]+: (?:!!\w+ )?)?)(.*)$""", line)
    assert found, line
    return found[1], "", found[2].replace('"', "'")


def _quoted_key(line: str) -> str:
    explicit = re.match(r"^(\s*\? )(.*)$", line)
    if explicit:
        return f'{explicit[1]}"{explicit[2]}"'
    return re.sub(r"^(\s*)([^:]*):", r'\1"\2":', line)


def environment(folder: Path, extra: dict[str, str], python: str, root: Path) -> dict[str, str]:
    """What a person's shell has: `flowgate` on the path, and the variables of the case."""
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    script = commands / "flowgate"
    if not script.exists():
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{python}" -m flowgate_engine.cli.main "$@"\n')
        script.chmod(0o755)
    return {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder), **extra}
