"""What all tests share: how hard those with generated data try."""

from hypothesis import HealthCheck, settings

# How long a busy machine takes to make up data says nothing of the code.
settings.register_profile("whole", suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", parent=settings.get_profile("whole"), max_examples=15)
settings.load_profile("whole")
