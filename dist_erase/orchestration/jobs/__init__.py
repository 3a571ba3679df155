"""Jobs on a Ray cluster elsewhere: submitted, followed, listed and stopped over HTTP."""
