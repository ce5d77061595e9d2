"""What a request turns into."""

import unittest

from flowgate_engine.errors import UsageError
from flowgate_engine.models import states
from flowgate_engine.services.launch import LaunchSpec, LogSpec, ProbeSpec, RestartSpec, StopSpec
from flowgate_engine.store.records import DOWN, UP
from flowgate_engine.supervisor.request import Now, parse, plan


def spec(service: str, version: str = "1") -> LaunchSpec:
    return LaunchSpec(
        format=1,
        service=service,
        kind=service,
        version=version,
        artifact="/a",
        artifact_sha256="0",
        host="127.0.0.1",
        port=1,
        inherit_socket=False,
        handover="restart",
        handover_reason=None,
        args=(),
        env=(),
        secret_env=(),
        inputs=(),
        options={},
        probes=ProbeSpec("/", "/", 5, 2, 3, 1, 90),
        restart=RestartSpec("always", 0.5, 30, 60, 6),
        stop=StopSpec(30, 10),
        logs=LogSpec(1000, 2),
    )


BOTH = {"cliproxyapi": spec("cliproxyapi"), "litellm": spec("litellm")}
STOPPED = {n: Now(DOWN, 0, states.STOPPED, None) for n in BOTH}
RUNNING = {n: Now(UP, 3, states.READY, s.digest()) for n, s in BOTH.items()}


def words(
    document: dict[str, object], specs: dict[str, LaunchSpec], now: dict[str, Now]
) -> list[list[tuple[str, str, int]]]:
    steps = plan(parse(document), specs, now)
    return [[(t.service, t.wanted, t.epoch) for t in step] for step in steps]


class Plan(unittest.TestCase):
    """From words to targets."""

    def test_up_starts_both_at_once(self) -> None:
        self.assertEqual(words({"kind": "up"}, BOTH, STOPPED), [[("cliproxyapi", UP, 1), ("litellm", UP, 1)]])

    def test_up_on_what_runs_changes_nothing(self) -> None:
        self.assertEqual(words({"kind": "up"}, BOTH, RUNNING), [[("cliproxyapi", UP, 3), ("litellm", UP, 3)]])

    def test_up_takes_what_is_on_disk(self) -> None:
        changed = {**BOTH, "litellm": spec("litellm", "2")}
        self.assertEqual(words({"kind": "up"}, changed, RUNNING), [[("cliproxyapi", UP, 3), ("litellm", UP, 4)]])

    def test_up_tries_a_failed_service_again(self) -> None:
        now = {**RUNNING, "litellm": RUNNING["litellm"]._replace(state=states.FAILED)}
        self.assertEqual(words({"kind": "up"}, BOTH, now), [[("cliproxyapi", UP, 3), ("litellm", UP, 4)]])

    def test_who_asks_again_does_not_wait_for_the_delay_of_a_crash_loop(self) -> None:
        now = {**RUNNING, "litellm": RUNNING["litellm"]._replace(state=states.STARTING, waiting=True)}
        self.assertEqual(words({"kind": "up"}, BOTH, now), [[("cliproxyapi", UP, 3), ("litellm", UP, 4)]])
        self.assertEqual(words({"kind": "start", "services": ["litellm"]}, BOTH, now), [[("litellm", UP, 4)]])

    def test_up_stops_what_was_disabled(self) -> None:
        only = {"cliproxyapi": BOTH["cliproxyapi"]}
        self.assertEqual(words({"kind": "up"}, only, RUNNING), [[("litellm", DOWN, 4)], [("cliproxyapi", UP, 3)]])

    def test_apply_restarts_what_differs_cliproxyapi_first(self) -> None:
        changed = {name: spec(name, "2") for name in BOTH}
        self.assertEqual(words({"kind": "apply"}, changed, RUNNING), [[("cliproxyapi", UP, 4)], [("litellm", UP, 4)]])
        only = {**BOTH, "litellm": spec("litellm", "2")}
        self.assertEqual(words({"kind": "apply"}, only, RUNNING), [[("litellm", UP, 4)]])

    def test_apply_with_nothing_pending_has_no_steps(self) -> None:
        self.assertEqual(words({"kind": "apply"}, BOTH, RUNNING), [])

    def test_apply_starts_nothing_that_is_stopped(self) -> None:
        changed = {name: spec(name, "2") for name in BOTH}
        self.assertEqual(words({"kind": "apply"}, changed, STOPPED), [])

    def test_apply_stops_what_was_disabled(self) -> None:
        only = {"cliproxyapi": BOTH["cliproxyapi"]}
        self.assertEqual(words({"kind": "apply"}, only, RUNNING), [[("litellm", DOWN, 4)]])

    def test_apply_tries_a_failed_service_again_when_it_was_edited(self) -> None:
        now = {**RUNNING, "litellm": RUNNING["litellm"]._replace(state=states.FAILED)}
        self.assertEqual(words({"kind": "apply"}, BOTH, now), [])
        self.assertEqual(
            words({"kind": "apply"}, {**BOTH, "litellm": spec("litellm", "2")}, now), [[("litellm", UP, 4)]]
        )
        self.assertEqual(parse({"kind": "apply"}).text, "apply")

    def test_restart_takes_cliproxyapi_first(self) -> None:
        self.assertEqual(words({"kind": "restart"}, BOTH, RUNNING), [[("cliproxyapi", UP, 4)], [("litellm", UP, 4)]])

    def test_restart_starts_what_is_stopped(self) -> None:
        self.assertEqual(words({"kind": "restart", "services": ["litellm"]}, BOTH, STOPPED), [[("litellm", UP, 1)]])

    def test_down_takes_litellm_first(self) -> None:
        self.assertEqual(words({"kind": "down"}, {}, RUNNING), [[("litellm", DOWN, 4)], [("cliproxyapi", DOWN, 4)]])

    def test_down_on_what_is_stopped_changes_nothing(self) -> None:
        self.assertEqual(words({"kind": "down"}, {}, STOPPED), [[("litellm", DOWN, 0)], [("cliproxyapi", DOWN, 0)]])

    def test_a_profile_restarts_litellm_only_where_it_runs(self) -> None:
        changed = {**BOTH, "litellm": spec("litellm", "2")}
        profile = {"kind": "profile", "profile": "cost"}
        self.assertEqual(words(profile, changed, RUNNING), [[("litellm", UP, 4)]])
        self.assertEqual(words(profile, changed, STOPPED), [])

    def test_start_leaves_alone_what_runs(self) -> None:
        self.assertEqual(words({"kind": "start", "services": ["litellm"]}, BOTH, RUNNING), [])


class Parse(unittest.TestCase):
    """What is no request."""

    def test_refusals(self) -> None:
        cases: list[tuple[dict[str, object], str]] = [
            ({"kind": "explode"}, "unknown operation"),
            ({"kind": "start", "services": ["nginx"]}, "no service nginx"),
            ({"kind": "profile"}, "which profile"),
        ]
        for document, text in cases:
            with self.subTest(document), self.assertRaisesRegex(UsageError, text):
                parse(document)

    def test_words_of_a_request(self) -> None:
        self.assertEqual(parse({"kind": "restart"}).text, "service restart all")
        self.assertEqual(parse({"kind": "profile", "profile": "cost"}).text, "profile set cost")
        self.assertEqual(parse({"kind": "up"}).text, "up")


if __name__ == "__main__":
    unittest.main()
