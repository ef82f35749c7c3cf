"""Keeps the status of validating policies: which generation was type-checked, and what was found.

Level-based, in every API server: each looks at all policies that the watch cache has, and two that come to the same
finding do no harm.
"""

import asyncio
from typing import Any

from apimachinery import scheme
from apimachinery.errors import ApiError, Conflict, NotFound
from apimachinery.logging import get_logger
from apimachinery.meta import name_of
from apimachinery.patch import copy

from ...registry.store import LoopbackWriter, Registry
from ...storage.watcher import Watcher
from ..matching import EXEMPT_GROUP

Object = dict[str, Any]
_log = get_logger(__name__)
POLICIES = scheme.kind_of("validatingadmissionpolicies", EXEMPT_GROUP)
RETRY_SECONDS = 1.0
_NEVER = 86_400.0


class PolicyStatus:
    def __init__(self, registry: Registry) -> None:
        self._registry, self._writer = registry, LoopbackWriter(registry)

    async def run(self) -> None:
        """Until it is cancelled."""
        bucket = self._registry.reads.bucket(POLICIES)
        while True:
            watcher = Watcher()
            bucket.watch(watcher, bucket.revision)
            while not watcher.closed:
                done = True
                for policy in list(self._registry.reads.list(POLICIES)):
                    if (policy.get("status") or {}).get("observedGeneration") != policy["metadata"]["generation"]:
                        done &= await self._check(policy)
                await watcher.batch(_NEVER if done else RETRY_SECONDS)

    async def _check(self, policy: Object) -> bool:
        """Whether that is done."""
        from . import type_checking  # with the checker, which a server without policies has no need of

        pipeline = self._registry.pipeline
        try:
            # In a thread: a policy with many kinds and variables may take half a second.
            warnings = await asyncio.to_thread(type_checking.check, policy, pipeline.catalog, pipeline.schemas)
            checked = {"expressionWarnings": warnings} if warnings else {}
            found = {"observedGeneration": policy["metadata"]["generation"], "typeChecking": checked}
            status = {**(policy.get("status") or {}), **found}
            await self._writer.update(POLICIES, {**copy(policy), "status": status}, "status")
        except (Conflict, NotFound):
            return True  # somebody else has written: the cache will tell
        except ApiError as error:
            _log.warning("Cannot write the status of a policy", name=name_of(policy), error=str(error))
            return False
        except Exception:  # the loop boundary of policies: others must not suffer from one
            _log.exception("Cannot check the types of a policy", name=name_of(policy))
        return True
