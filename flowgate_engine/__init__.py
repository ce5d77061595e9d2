"""The engine: everything Flowgate does, with no user interface in it."""
