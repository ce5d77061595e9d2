"""Start of the keeper. `-I -S` leaves neither this folder nor site-packages on the path."""

import os
import sys

# the parent of flowgate_engine goes last, so that nothing beside it can stand in for the standard library
sys.path.append(os.path.abspath(__file__ + "/../../../.."))

from flowgate_engine.supervisor.keeper.entry import main

if __name__ == "__main__":
    main(sys.argv[1])
