"""Waiting for a page in a browser."""

import time

_SECONDS = 30


def until(tab, script, arg=None):
    """Wait until a script is true; playwright's own way is one that the page's policy forbids."""
    deadline = time.monotonic() + _SECONDS
    while not tab.evaluate(script, arg):
        assert time.monotonic() < deadline, script
        tab.wait_for_timeout(20)
