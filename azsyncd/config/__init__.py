"""The configuration file: its schema, loading it with every problem at once, secrets by reference.

`load` gives a `Loaded`; `Loaded.config` is a tree of frozen objects as in surface.md §1, with
planning's own types in it. No secret is opened before it is used.
"""

from azsyncd.config.loading import Loaded, digest, load, loads
from azsyncd.config.model import Config
from azsyncd.config.secrets import Secret
from azsyncd.config.showing import json_schema, masked, shown
from azsyncd.config.targets import Target

__all__ = [
    "Config",
    "Loaded",
    "Secret",
    "Target",
    "digest",
    "json_schema",
    "load",
    "loads",
    "masked",
    "shown",
]
