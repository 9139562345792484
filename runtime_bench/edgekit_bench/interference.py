"""How much the cores work for others while samples are taken."""

import os

from .events import clock
from .files import read_text


class OtherWork:
    """Watches how much the cores work for others than this process, from now on."""

    # The kernel counts in ticks, of 10 ms as a rule: less than this says nothing.
    LEAST_SECONDS = 0.2

    def __init__(self, proc="/proc"):
        self.proc = proc
        self.busy, self.own, self.began_ns = self._busy(), self._own(), clock()

    def cores(self):
        """Cores that this process and that others kept busy on average since then; None for what
        is not known.
        """
        busy, seconds = self._busy(), (clock() - self.began_ns) / 1e9
        if seconds < self.LEAST_SECONDS:
            return None, None
        own = self._own() - self.own
        if busy is None or self.busy is None:
            return round(own / seconds, 3), None
        return round(own / seconds, 3), round(max(0.0, busy - self.busy - own) / seconds, 3)

    def _busy(self):
        """Seconds of work on all cores since the start, those stolen by a hypervisor included.

        The line "cpu": user nice system idle iowait irq softirq steal, in ticks (proc_stat(5)).
        """
        text, _ = read_text(self.proc + "/stat")
        fields = text.split("\n", 1)[0].split() if text else []
        if len(fields) < 9 or fields[0] != "cpu":
            return None
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    def _own(self):
        times = os.times()
        return times.user + times.system
