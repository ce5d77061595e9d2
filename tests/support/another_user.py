"""The `flowgate` command as another user of this machine runs it. Root only."""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import NamedTuple

from flowgate_engine.cli.main import main

#: nobody, everywhere.
USER = 65534


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run(*words: str) -> Ran:
    """Run a command in a forked child that became somebody else.

    The interpreter may lie where others cannot read: so the child runs the command once as root with `--help`, and
    imports what the real one needs, before it changes its user.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            import flowgate_engine.cli.services
            import flowgate_engine.cli.status
            import flowgate_engine.engine
            import flowgate_engine.io.locks
            import flowgate_engine.store.documents
            import flowgate_engine.store.readonly  # noqa: F401

            _run("status")  # imports what is imported late
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
            os.write(writer, json.dumps(_run(*words)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        raw = file.read()
    os.waitpid(pid, 0)
    return Ran(*json.loads(raw))


def _run(*words: str) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    return Ran(code, out.getvalue(), err.getvalue())
