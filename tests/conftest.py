"""For all tests: how hard properties are tried."""

from hypothesis import settings

# `make fast` looks for what is plainly broken; `make test` tries each property a hundred times.
settings.register_profile("fast", max_examples=15)
settings.register_profile("whole", max_examples=100, deadline=None)
settings.load_profile("whole")
