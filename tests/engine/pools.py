"""The few names, contents and ages of which random registries are made, so that they meet.

No age lies on a boundary of a policy's duration: which side a boundary belongs to has tests of its own.
"""

from tests.engine.volumes import DAY, HOUR

REPOSITORIES = ("app", "team", "team/app", "team/app/deep", "current-app")
TAGS = ("latest", "v1", "v1.0.0", "v1.2", "1.10", "1.9.3", "v2.0.0-rc.1", "stable-1", "sha256-short")
LAYERS = tuple(b"layer %d" % number * (number + 1) for number in range(5))
FUTURE = -5 * HOUR
BEFORE_1980 = 1_780_000_000 - 300_000_000  # seconds before the volume's NOW
AGES = (FUTURE, 600, 2 * HOUR, 20 * HOUR, 30 * HOUR, 3 * DAY, 10 * DAY, 29 * DAY, 45 * DAY, 100 * DAY, BEFORE_1980)
