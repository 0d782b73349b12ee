"""How hard the property tests search: quick at a desk, ci for a submission, nightly for a night."""

import os

from hypothesis import HealthCheck, Phase, settings

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=SLOW)
settings.register_profile(
    "ci", max_examples=200, deadline=None, suppress_health_check=SLOW, derandomize=True, print_blob=True
)
settings.register_profile(
    "nightly", max_examples=5000, deadline=None, suppress_health_check=SLOW, phases=tuple(Phase)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "quick"))
