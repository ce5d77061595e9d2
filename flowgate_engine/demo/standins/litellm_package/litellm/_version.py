"""Which LiteLLM this stand-in plays: the version that its wheel was given."""

import importlib.metadata

version = importlib.metadata.version("litellm")
_numbers = tuple(int(n) for n in version.split(".")[:2])

#: From here on a missing key is an exception that reaches the server (500); before, a 401. Measured on
#: 1.75.8 (401), 1.102.4 and 1.106.2 (500).
MISSING_KEY_CRASHES = _numbers >= (1, 102)
#: Answers name the model group instead of the upstream's model; `/v1/messages` asks the upstream's
#: `/responses`; security headers; no `server` header. Measured on 1.75.8 (no) and 1.106.2 (yes).
MODERN_ANSWERS = _numbers >= (1, 102)
#: No start without a master key that is not the published example. Measured on 1.106.2, not on 1.75.8.
MASTER_KEY_REQUIRED = _numbers >= (1, 106)
