"""How much memory this process has taken."""

import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Bytes that this process has held at its peak; not what its parent held, which `resource` counts in after an
    exec.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
