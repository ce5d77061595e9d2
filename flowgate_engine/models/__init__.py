"""Frozen vocabulary shared by engine, CLI and cockpit. Imports nothing of ours.

Plain named tuples, because `status` and `--help` must start in a few times the
time of an empty interpreter and frozen dataclasses cost eight times as much.
"""
