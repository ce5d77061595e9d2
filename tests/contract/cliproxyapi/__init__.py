"""The contract of CLIProxyAPI as abstract test cases; `tests/contract/test_cliproxyapi.py` runs them."""
