"""What CLIProxyAPI does, measured: the stand-in is held to it always, the real program where there is one.

Each oddity that Flowgate relies on or works around is a test. Where versions differ the test knows.
The real program: FLOWGATE_CLIPROXYAPI_BIN=/path/to/cli-proxy-api (and FLOWGATE_CLIPROXYAPI_VERSION=X.Y.Z
for a build that says `dev` and whose name does not say more).
"""

from __future__ import annotations

import json
import time
import unittest

from tests.contract.cliproxyapi import case, command, ending, itsconfig, management, routing
from tests.contract.cliproxyapi.case import BASE, PATHS, body
from tests.support import cliproxyapi


class StandIn(
    command.Command,
    command.Answers,
    ending.Ending,
    itsconfig.ItsConfig,
    management.Management,
    routing.Routing,
    case.Case,
):
    """The stand-in as the newest version it knows."""

    program = cliproxyapi.standin()

    def test_an_account_answers_by_itself(self) -> None:
        running = self.running(BASE)
        (running.auth / "a.json").write_text(json.dumps({"type": "claude", "email": "a@example.com"}))
        [model] = [entry["id"] for entry in running.get("/v1/models").json()["data"]]
        for path in PATHS:
            for stream in (False, True):
                answer = running.ask("POST", path, body=body(path, model=model, stream=stream))
                self.assertEqual(200, answer.status)
                self.assertIn("stand-in of CLIProxyAPI", answer.body.decode())

    def test_it_starts_in_no_time(self) -> None:
        best = 9.0
        for _ in range(5):
            started = time.monotonic()
            self.running(BASE)
            best = min(best, time.monotonic() - started)
        self.assertLess(best, 0.5)


class StandInOf6(
    command.Command,
    command.Answers,
    ending.Ending,
    itsconfig.ItsConfig,
    management.Management,
    routing.Routing,
    case.Case,
):
    """The stand-in as a version before 7."""

    program = cliproxyapi.standin("6.10.9")


class Real(
    command.Command,
    command.Answers,
    ending.Ending,
    itsconfig.ItsConfig,
    management.Management,
    routing.Routing,
    case.Case,
):
    """The real program."""

    if (_found := cliproxyapi.real()) is not None:
        program = _found


if __name__ == "__main__":
    unittest.main()
