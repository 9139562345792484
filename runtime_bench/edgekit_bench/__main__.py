"""Starts the program: ``python3 edgekit_bench JOB.json``, which may be this folder or its zip."""

import os
import sys

if not __package__ and os.path.isdir(sys.path[0]):
    # A folder, which is the package itself: it is found in the one above. A zip has it inside.
    sys.path[0] = os.path.dirname(os.path.abspath(sys.path[0]))

from edgekit_bench.main import start

start(sys.argv[1:])
