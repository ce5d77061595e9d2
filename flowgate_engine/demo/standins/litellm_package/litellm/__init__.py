"""A stand-in for LiteLLM's proxy: same addresses, same shapes, same oddities, no models.

Made for Flowgate's demo and tests. It runs inside its own environment and imports nothing of Flowgate.
"""

from ._version import version as __version__
from .router import Router

__all__ = ["Router", "__version__"]
