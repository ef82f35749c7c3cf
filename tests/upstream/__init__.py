"""Upstream's own tests: not part of `make test`, since building them takes minutes and running them longer."""
