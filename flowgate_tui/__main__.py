"""Entry point of the cockpit."""


def main() -> int:
    """Placeholder until the dashboard is wired in."""
    return 0
