"""Imported once by the server that submissions are forked from."""

from __future__ import annotations

from dsnotes.labs.desk import warm

warm()
