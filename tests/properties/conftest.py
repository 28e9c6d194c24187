"""How hard the properties are tried: a few seconds each, more in CI or when asked for."""

import os

from hypothesis import HealthCheck, settings

COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
settings.register_profile("fast", max_examples=25, **COMMON)  # type: ignore[arg-type]
settings.register_profile("deep", max_examples=400, **COMMON)  # type: ignore[arg-type]
CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "deep" if CI else "fast")
settings.load_profile(PROFILE)
