"""Waiting for events with a deadline, small children, and proof that nothing is left running."""

from __future__ import annotations

import asyncio
import sys
import time
import unittest
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from flowgate_engine.io import kernel, processes

DEADLINE = 15.0
T = TypeVar("T")


def wait_for(condition: Callable[[], T], deadline: float = DEADLINE, what: str = "") -> T:
    """What `condition` returns as soon as it is true; AssertionError with `what` after `deadline` seconds."""
    until = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline} s: {what or condition}")
        time.sleep(0.005)  # why: another process has no event for us; the deadline is above
    return found


async def wait_async(condition: Callable[[], T], deadline: float = DEADLINE, what: str = "") -> T:
    """As `wait_for`, on an event loop."""
    until = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline} s: {what or condition}")
        await asyncio.sleep(0.005)  # why: as above
    return found


async def in_time(work: Awaitable[T], deadline: float = DEADLINE) -> T:
    """`work` with a deadline."""
    return await asyncio.wait_for(work, deadline)


def python(code: str, *args: str) -> list[str]:
    """argv of a small Python program that starts fast."""
    return [sys.executable, "-I", "-S", "-c", code, *args]


def text(path: Path) -> str:
    """What stands in a file; empty when it is not there."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def assert_nothing_left(case: unittest.TestCase, instance: str) -> None:
    """No living process carries this mark."""
    wait_for(lambda: not processes.find_marked(instance), 3.0, f"processes of {instance}: {kernel.marked(instance)}")
    case.assertEqual(processes.find_marked(instance), [])


def document(folder: Path, instance: str, argv: list[str], **fields: Any) -> dict[str, Any]:
    """A keeper's document for `argv`, logging to `folder`/logs/demo.log."""
    return {
        "service": "demo",
        "generation": 1,
        "replica": 0,
        "instance": instance,
        "argv": argv,
        "cwd": "/",
        "env": {},
        "mask": [],
        "log": {"path": str(folder / "logs" / "demo.log"), "max_size": 10_000_000, "keep": 3},
        "stop": {"drain_timeout": 1.0, "kill_after": 1.0},
        "supervisor": None,
        **fields,
    }
