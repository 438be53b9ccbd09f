"""Settings of every test."""

import os
import signal

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start; some are about Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported: tests are many small operations, for which a second thread only waits for the first.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# No deadline: the first call of a test imports and compiles, and other work may share the machine. In CI the same
# examples are tried on every run, so that a failure is always the change's own.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
