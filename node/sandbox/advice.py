"""How a person gets a stronger sandbox than the one that was found.

Owns the sentences; docs/sandbox.md has the long form. Advice is by what failed, never by guessing at versions.
"""

from node.sandbox.confinement import Confinement
from node.sandbox.policy import Backend

INSTALL = "install bubblewrap for namespaces around it (apt install bubblewrap)"
USER_NAMESPACES = (
    "for namespaces around it, user namespaces must be allowed: on Ubuntu by bubblewrap's AppArmor profile, in a "
    "container not at all; see docs/sandbox.md"
)
NO_LANDLOCK = (
    "Landlock is missing: it needs Linux 5.13 or newer with landlock in the kernel's list of security modules (boot "
    "option lsm=), and a container runtime that allows its calls; until then only configs are searched, unless you "
    "accept --unsafe; see docs/sandbox.md"
)
NOT_LINUX = "only Linux has one so far: use a virtual machine or a container, or accept --unsafe; see docs/sandbox.md"


def advice(found: Confinement) -> str:
    """What to do, empty when there is nothing stronger."""
    match found.backend:
        case Backend.BUBBLEWRAP:
            return ""
        case Backend.LANDLOCK:
            return INSTALL if "bubblewrap: not installed" in found.problems else _why(found, USER_NAMESPACES)
        case Backend.NONE:
            linux = any(problem.startswith("Landlock") for problem in found.problems)
            return _why(found, NO_LANDLOCK) if linux else NOT_LINUX


def _why(found: Confinement, sentence: str) -> str:
    return f"{sentence} ({found.problems[-1]})"
