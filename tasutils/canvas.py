"""The older name of what `show` draws with."""

from tasutils.charts import name_rows  # noqa: F401
from tasutils.show import *  # noqa: F403
from tasutils.show import TALLEST  # noqa: F401
