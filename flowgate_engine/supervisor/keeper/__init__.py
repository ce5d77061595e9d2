"""The keeper: one small process beside each child. Standard library only, and little of it.

Run as `python -I -S keeper/__main__.py <generation folder>`; the protocol stands in docs/architecture.md.
"""
