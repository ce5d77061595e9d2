"""Runs LiteLLM's app on an inherited socket, counts what it serves, and drains without losing a request.

Copied beside `runner.py`; standard library, plus uvicorn and litellm of the environment it runs in.
"""
