"""The cockpit: draws snapshots of the engine, owns nothing."""
