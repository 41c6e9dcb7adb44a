"""Machine code for what torch would do in many passes."""
