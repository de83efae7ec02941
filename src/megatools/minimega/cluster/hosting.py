"""What a host does around a launch it is asked for: join the namespace, and keep no VM that was given up.

`app` puts it in front of the handler of the `vm` ring.
"""

from __future__ import annotations

import msgspec.structs

from megatools.minimega.cluster.fences import Fences
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import Handler, Handlers
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.vm.operations import LaunchVms, Refused


def handlers(of_vms: Handlers, namespaces: Namespaces, fences: Fences) -> Handlers:
    """The handler of `LaunchVms` with this around it."""
    launch: Handler = of_vms[LaunchVms]

    async def launch_here(namespace: str, asked: LaunchVms) -> Answer:
        """Fenced VMs are not launched, and not kept when the fence comes meanwhile."""
        await namespaces.enter(namespace, asked.incarnation)
        await fences.obey(namespace, asked.given_up)
        fenced = fences.fenced(plan.uuid for plan in asked.plans)
        wanted = tuple(plan for plan in asked.plans if plan.uuid not in fenced)
        answer = await launch(namespace, msgspec.structs.replace(asked, plans=wanted))
        fenced = fences.fenced(plan.uuid for plan in asked.plans)
        if not fenced:
            return answer
        await fences.obey()
        late = [Refused(plan.name, "it was given up meanwhile") for plan in asked.plans if plan.uuid in fenced]
        return LaunchVms.answer([*LaunchVms.refused(answer), *late])

    return {LaunchVms: launch_here}
