"""What all tests share: repeatable property tests."""

from hypothesis import settings

# Same examples on every run: a test that fails does so for everybody.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("repeatable")
