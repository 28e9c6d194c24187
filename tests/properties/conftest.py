"""How hard the properties are tried: a few seconds each, more in CI, the same each time; and at
random, as long as one likes, with HYPOTHESIS_PROFILE=deep."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
settings.register_profile("fast", max_examples=25, derandomize=True, **COMMON)  # type: ignore[arg-type]
settings.register_profile("ci", max_examples=80, derandomize=True, **COMMON)  # type: ignore[arg-type]
settings.register_profile("deep", max_examples=400, **COMMON)  # type: ignore[arg-type]
CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if CI else "fast")
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Many examples take longer than one test may elsewhere."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(60 if PROFILE == "fast" else 900))
