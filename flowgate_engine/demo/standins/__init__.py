"""Small programs that speak the contract of the real ones, so that the demo needs no network."""
