"""The restart policy and the judgement of probes, as tables."""

import itertools
import unittest

from flowgate_engine.models import states
from flowgate_engine.services.launch import ProbeSpec, RestartSpec
from flowgate_engine.supervisor import policy

RULE = RestartSpec("always", 0.5, 30.0, 60.0, 6)
PROBES = ProbeSpec("/l", "/r", 5.0, 2.0, 3, 1, 90.0)


class AfterExit(unittest.TestCase):
    """What follows an exit."""

    def test_table(self) -> None:
        cases = [
            # policy, failures before, uptime, clean -> action, failures after
            ("always", 0, 1.0, False, policy.RESTART, 1),
            ("always", 0, 1.0, True, policy.RESTART, 1),
            ("always", 4, 1.0, False, policy.RESTART, 5),
            ("always", 5, 1.0, False, policy.GIVE_UP, 6),
            ("always", 5, 60.0, False, policy.RESTART, 1),
            ("on-failure", 0, 1.0, True, policy.REST, 1),
            ("on-failure", 0, 1.0, False, policy.RESTART, 1),
            ("never", 0, 1.0, True, policy.REST, 1),
            ("never", 0, 1.0, False, policy.GIVE_UP, 1),
        ]
        for name, failures, uptime, clean, action, after in cases:
            with self.subTest(policy=name, failures=failures, uptime=uptime, clean=clean):
                rule = RULE._replace(policy=name)
                verdict = policy.after_exit(rule, failures=failures, uptime=uptime, clean=clean, random=0.0)
                self.assertEqual((verdict.action, verdict.failures), (action, after))

    def test_first_restart_is_immediate_and_the_next_ones_double_up_to_the_limit(self) -> None:
        delays = [policy.backoff(RULE, n, 0.999999) for n in range(1, 12)]
        self.assertEqual(delays[0], 0.0)
        for earlier, later in itertools.pairwise(delays[1:6]):
            self.assertAlmostEqual(later / earlier, 2.0, places=3)
        self.assertLessEqual(max(delays), 30.0)
        self.assertGreater(delays[-1], 29.9)

    def test_jitter_keeps_at_least_half(self) -> None:
        self.assertAlmostEqual(policy.backoff(RULE, 3, 0.0), 0.5)
        self.assertAlmostEqual(policy.backoff(RULE, 3, 0.5), 0.75)

    def test_many_failures_do_not_overflow(self) -> None:
        self.assertLessEqual(policy.backoff(RULE, 10**6, 0.5), 30.0)


class AfterProbe(unittest.TestCase):
    """What the probes mean."""

    def rounds(self, state: str, results: list[tuple[bool, bool]], *, age: float = 1.0) -> tuple[str, str | None]:
        pulse, restart = policy.Pulse(), None
        for live, ready in results:
            judged = policy.after_probe(PROBES, pulse, state, live=live, ready=ready, age=age)
            pulse, state, restart = judged
        return state, restart

    def test_the_first_pass_makes_it_ready(self) -> None:
        self.assertEqual(self.rounds(states.STARTING, [(False, False), (True, True)]), (states.READY, None))

    def test_a_start_is_given_its_grace(self) -> None:
        self.assertEqual(self.rounds(states.STARTING, [(False, False)] * 20), (states.STARTING, None))

    def test_a_start_that_never_answers_is_replaced_after_its_grace(self) -> None:
        state, restart = self.rounds(states.STARTING, [(False, False)], age=91.0)
        self.assertEqual(state, states.STARTING)
        self.assertIn("has not answered in 90 s", restart or "")

    def test_a_ready_service_that_goes_silent_is_replaced_after_the_threshold(self) -> None:
        silent = [(True, True), (False, False), (False, False)]
        self.assertEqual(self.rounds(states.STARTING, silent), (states.READY, None))
        _, restart = self.rounds(states.STARTING, [*silent, (False, False)])
        self.assertIn("stopped answering", restart or "")

    def test_failing_readiness_alone_never_restarts(self) -> None:
        state, restart = self.rounds(states.STARTING, [(True, True)] + [(True, False)] * 50)
        self.assertEqual((state, restart), (states.RUNNING, None))

    def test_one_failed_readiness_is_no_news(self) -> None:
        self.assertEqual(self.rounds(states.STARTING, [(True, True), (True, False)]), (states.READY, None))

    def test_it_is_ready_again_at_the_first_pass(self) -> None:
        results = [(True, True)] + [(True, False)] * 3 + [(True, True)]
        self.assertEqual(self.rounds(states.STARTING, results), (states.READY, None))

    def test_success_threshold(self) -> None:
        probes = PROBES._replace(success_threshold=3)
        pulse, state = policy.Pulse(), states.STARTING
        seen = []
        for _ in range(3):
            judged = policy.after_probe(probes, pulse, state, live=True, ready=True, age=1.0)
            pulse, state, _restart = judged
            seen.append(state)
        self.assertEqual(seen, [states.STARTING, states.STARTING, states.READY])

    def test_starts_are_watched_closely_and_rest_is_calm(self) -> None:
        early = policy.probe_delay(PROBES, policy.Pulse(), 0)
        self.assertLess(early, 0.1)
        self.assertLessEqual(policy.probe_delay(PROBES, policy.Pulse(), 1000), 5.0)
        self.assertEqual(policy.probe_delay(PROBES, policy.Pulse(was_ready=True), 0), 5.0)


class States(unittest.TestCase):
    """The allowed moves."""

    def test_every_state_has_its_moves_and_they_end_in_states(self) -> None:
        self.assertEqual(set(states.TRANSITIONS), set(states.ALL))
        for targets in states.TRANSITIONS.values():
            self.assertLessEqual(targets, set(states.ALL))

    def test_an_impossible_move_is_a_defect(self) -> None:
        with self.assertRaises(states.IllegalTransitionError):
            states.check_transition(states.STOPPED, states.READY)

    def test_a_held_service_starts_only_through_starting(self) -> None:
        states.check_transition(states.HELD, states.STARTING)
        with self.assertRaises(states.IllegalTransitionError):
            states.check_transition(states.HELD, states.READY)


if __name__ == "__main__":
    unittest.main()
