"""How pytest-xdist deals out tests: whole groups, in the order in which they were collected.

Its own `--dist loadgroup` (3.8) does not see the groups under pytest 9.2, which no longer lets a
test's name be changed.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

from support.groups import group_of


class ByGroup(LoadScopeScheduling):
    """Groups as `support.groups` has them."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
