"""The proxy half."""
