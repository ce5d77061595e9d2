"""One folder a kind of service; `launch` is the vocabulary they share."""
