"""What all tests share: how hard those with generated data try."""

from hypothesis import settings

settings.register_profile("quick", max_examples=15)
