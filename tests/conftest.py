"""Settings shared by all tests."""

import os

from hypothesis import settings

# Deadlines measure the machine, not the code. In CI the examples are the same every time, so failures repeat.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
