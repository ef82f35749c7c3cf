"""The controllers that exist: one line each."""

from master.controller_manager.frame import ManagedController

CONTROLLERS: tuple[type[ManagedController], ...] = ()
