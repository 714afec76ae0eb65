"""The file that N3 makes once for its user: headgate's one line."""

from headgate.n3 import bind

router, setup = bind(__package__)
