"""The older name of `tables`."""

from tasutils.tables import *  # noqa: F403
