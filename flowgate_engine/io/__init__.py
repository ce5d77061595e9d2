"""One side effect a file; each point that can be cut off is named in `faults`."""
