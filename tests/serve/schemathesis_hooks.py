"""What the formats of the description mean, for the `schemathesis` command."""

from __future__ import annotations

import os
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

TIMES = ["1851", "2023-04-25", "2023-04-25T04:07:00+02:00", "about 1851", "last spring", "yesterday"]
schemathesis.openapi.format("mnemic-time", st.sampled_from(TIMES))
schemathesis.openapi.format("mnemic-words", st.sampled_from(["whale", "sea captain"]))
schemathesis.openapi.media_type("application/x-ndjson", st.just(Path(os.environ["EXPORTED"]).read_bytes()))
