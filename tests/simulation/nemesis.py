"""What goes wrong in the safety phase: the planned faults, each when its time has come (`faults.plan`).

Some faults need room: at most f members may have forgotten something or stand on an old copy of themselves at once, for they
count among the faulty (C5). A fault that finds no room, or nobody to befall, does nothing and is not counted.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.alliance import GENESIS_MS
from tests.simulation.builds import NEWER, OLDER, may_go_back, stands_still
from tests.simulation.certificates import Ending
from tests.simulation.faults import CLOCK_MS, SPAN_MS
from tests.simulation.schedule import UPGRADE, stream
from tests.simulation.twin import SUFFIX

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from tests.simulation.disk import BlockStore, VoteLog
    from tests.simulation.faults import Fault
    from tests.simulation.member import Member
    from tests.simulation.world import World

FUSE_MAX = 60
"""Within how many effects, or steps of its disk, an armed power cut happens."""
BACK = 0.3
"""How likely a member with the newer build is to be taken back to the older one."""
TWIN_STARTS_MS = 1_200
"""By when the second instance of a twin has started, in milliseconds."""
TWIN_VIEWS_MS = 3_000
"""How often twins talk to other groups, in milliseconds."""


class Nemesis:
    """All faults of one run, until it is called off."""

    def __init__(self, world: World, members: dict[str, Member], faults: Sequence[Fault]) -> None:
        self._world = world
        self._members = members
        self._faults = faults
        self._twin_chance = stream(world.options.seed, "twins begin")
        # Up to f members go on with the older build until it stops.
        self._late = stream(world.options.seed, "late").sample(list(members), world.options.faults_max)
        self._over = False
        self._acts: dict[str, Callable[[Fault], bool]] = {
            "isolate": self._partition,
            "split": self._partition,
            "one way": self._partition,
            "swizzle": self._swizzle,
            "crash": self._crash,
            "power cut": self._cut_power,
            "restart": self._restart_now,
            "pause": self._pause,
            "slow": self._slow,
            "blackout": self._black_out,
            "all killed": self._kill_all,
            "sync error": self._fail_disk,
            "disk full": self._fail_disk,
            "forgotten sync": self._forget_sync,
            "lost log": self._lose,
            "wiped disk": self._lose,
            "lost ledger": self._lose,
            "bit rot": self._lose,
            "misdirected write": self._lose,
            "restored": self._restore,
            "rolling upgrade": self._change_build,
            "certificate ends": self._end_certificate,
            "clock jump": self._set_clock,
            "clock back": self._set_clock,
        }

    def begin(self) -> None:
        """Set the plan going."""
        for fault in self._faults:
            self._world.clock.after(fault.at_ms, partial(self._befall, fault))
        for name in self._world.views.twinned:
            self._world.clock.after(self._twin_chance.randrange(TWIN_STARTS_MS), partial(self._start_twin, name))
        if self._world.views.twinned:
            self._world.clock.after(TWIN_VIEWS_MS, self._redraw_views)

    def call_off(self) -> None:
        """End all faults: links join, clocks are right, everybody comes back. Byzantine delegates stay what they are."""
        self._over = self._world.calm = True
        self._world.network.quieten()
        self._world.views.join()
        self._world.certificates.renew_all()
        for member in list(self._members.values()):
            member.fuse = None
            member.wake()
            member.log.disk.cut_at = None
            member.log.mend()
            self._begin_again(member)
            self._finish_upgrade(member)
            if not member.up:
                member.start()
            member.keep_time()

    def _befall(self, fault: Fault) -> None:
        if not self._over and self._acts[fault.kind](fault):
            self._world.hits[fault.kind] += 1
            self._world.story.note("nemesis", fault.kind, *fault.who)

    def _one(self, fault: Fault) -> Member:
        return self._members[fault.who[0]]

    # --- links ---

    def _partition(self, fault: Fault) -> bool:
        """Cut some off from the rest, in both directions or in one; heal later."""
        rest = [name for name in self._members if name not in fault.who]
        pairs = [(one, other) for one in fault.who for other in rest]
        if fault.kind != "one way":
            pairs += [(other, one) for one, other in pairs]
        self._world.network.cut(pairs)
        self._world.clock.after(fault.span_ms, partial(self._world.network.join, pairs))
        return True

    def _swizzle(self, fault: Fault) -> bool:
        """All links of some clog one after another, and open again in another order (FoundationDB's swizzle-clogging)."""
        chance, now_ms = fault.chance(), self._world.clock.now_ms
        for number, name in enumerate(chance.sample(list(fault.who), len(fault.who))):
            begin_ms = fault.span_ms * number // (2 * len(fault.who))
            until_ms = now_ms + fault.span_ms // 2 + chance.randrange(1 + fault.span_ms // 2)
            self._world.clock.after(begin_ms, partial(self._clog, name, until_ms))
        return True

    def _clog(self, name: str, until_ms: int) -> None:
        if not self._over:
            for other in self._members:
                self._world.network.hold(name, other, until_ms)
                self._world.network.hold(other, name, until_ms)

    # --- machines ---

    def _crash(self, fault: Fault) -> bool:
        """Stop up to f endpoints, with their power or without."""
        up = [self._members[name] for name in fault.who if self._members[name].up]
        chance = fault.chance()
        for member in up:
            self._stop(member, fault.span_ms, power=chance.random() < 0.5)
        return bool(up)

    def _cut_power(self, fault: Fault) -> bool:
        """Take the power away between two of the next effects, or inside a write."""
        member = self._one(fault)
        if member.up:
            self._light_fuse(member, fault.chance(), fault.span_ms)
        return member.up

    def _light_fuse(self, member: Member, chance: random.Random, span_ms: int) -> None:
        if chance.random() < 0.5:
            member.fuse = chance.randrange(FUSE_MAX)
        else:
            member.log.disk.cut_at = len(member.log.disk.steps) + chance.randrange(FUSE_MAX)
        self._world.clock.after(span_ms, partial(self._revive, member))

    def _restart_now(self, fault: Fault) -> bool:
        member = self._one(fault)
        if not member.up:
            return False
        member.crash(power=False)
        self._revive(member)
        return True

    def _change_build(self, fault: Fault) -> bool:
        """Restart all, one after another, as the newer build, or some as the older one where their chain lets them (G5)."""
        chance, clock = fault.chance(), self._world.clock
        for member in (self._members[name] for name in fault.who):
            build = OLDER if member.build == NEWER and chance.random() < BACK else NEWER
            clock.after(chance.randrange(fault.span_ms), partial(self._restart_as, build, member))
        return True

    def _restart_as(self, build: int, member: Member) -> None:
        if self._over or not member.up or build == member.build or not self._lets_change(member):
            return
        member.crash(power=False)
        self._world.hits["downgrade" if build == OLDER else "upgrade"] += 1
        self._world.story.note(member.endpoint, "comes back as the", "older" if build == OLDER else "newer", "build")
        member.build = build
        self._revive(member)

    def _lets_change(self, member: Member) -> bool:
        """Whether another build may start here; who is late waits until the older one stands still."""
        tip, late = member.ledger.chain.tip, member.founder.member_id in self._late
        if member.build == NEWER:
            return may_go_back(tip.height, tip.outlook)
        return not late or stands_still(tip.height, tip.outlook)

    def _finish_upgrade(self, member: Member) -> None:
        """In the end everybody runs the newer build: without it some would stand still for good."""
        if UPGRADE in self._world.options.faults and member.build == OLDER:
            member.crash(power=False)
            member.build = NEWER

    def _pause(self, fault: Fault) -> bool:
        self._one(fault).pause(fault.span_ms)
        return self._one(fault).up

    def _slow(self, fault: Fault) -> bool:
        self._one(fault).slow_until = self._world.clock.now_ms + fault.span_ms
        return self._one(fault).up

    def _black_out(self, fault: Fault) -> bool:
        """Everybody loses power at once, and comes back one after the other."""
        chance = fault.chance()
        for member in self._members.values():
            self._stop(member, chance.randrange(50, fault.span_ms), power=True)
        return True

    def _kill_all(self, fault: Fault) -> bool:
        """Everybody is killed at some write of its own (S9)."""
        chance = fault.chance()
        for member in self._members.values():
            self._light_fuse(member, chance, fault.span_ms)
        return True

    def _stop(self, member: Member, down_ms: int, *, power: bool) -> None:
        member.crash(power=power)
        self._world.clock.after(down_ms, partial(self._revive, member))

    def _revive(self, member: Member) -> None:
        member.fuse = None
        member.log.disk.cut_at = None
        if not member.up and not self._over:
            member.start()

    # --- disks ---

    def _fail_disk(self, fault: Fault) -> bool:
        """The next write or sync fails; the process ends of it, and comes back to a disk that works."""
        member = self._one(fault)
        if member.up:
            if fault.kind == "disk full":
                member.log.disk.full = True
            else:
                member.log.fail_sync(forgets=False)
            self._world.clock.after(fault.span_ms, partial(self._mend_disk, member))
        return member.up

    def _mend_disk(self, member: Member) -> None:
        member.log.mend()
        self._revive(member)

    def _forget_sync(self, fault: Fault) -> bool:
        """A sync fails, and the kernel takes its pages for written; then the power goes, once the process is back."""
        member, chance = self._one(fault), fault.chance()
        if member.up:
            member.log.fail_sync(forgets=True)
            back_ms = chance.randrange(fault.span_ms)
            self._world.clock.after(back_ms, partial(self._mend_disk, member))
            self._world.clock.after(fault.span_ms, partial(self._strike, member, chance.randrange(*SPAN_MS)))
        return member.up

    def _strike(self, member: Member, down_ms: int) -> None:
        """The power goes, if the faults are not over."""
        if not self._over:
            self._stop(member, down_ms, power=True)

    def _lose(self, fault: Fault) -> bool:
        """Stop a member and lose or damage what it has on disk, if there is room for one more that forgets."""
        member = self._one(fault)
        if not member.up or not self._has_room(member):
            return False
        member.crash(power=False)
        if not self._damage(member, fault):
            member.start()
            return False
        self._world.clock.after(fault.span_ms, partial(self._revive, member))
        return True

    def _damage(self, member: Member, fault: Fault) -> bool:
        """Whether anything was lost."""
        log, chance = member.log, fault.chance()
        match fault.kind:
            case "bit rot":
                log.flip_bit(chance)
            case "misdirected write":
                if not log.misplace_sector(chance):
                    return False
            case "lost log":
                log.wipe()
            case "wiped disk":
                log.wipe()
                self._wipe_ledger(member)
            case _:
                self._wipe_ledger(member)
        member.damaged = True
        return True

    def _wipe_ledger(self, member: Member) -> None:
        member.ledger.wipe()
        self._tell_wiped(member)

    def _tell_wiped(self, member: Member) -> None:
        for hear in self._world.watchers.wiped:
            hear(member.endpoint)

    def _has_room(self, member: Member) -> bool:
        """At most f members may have forgotten something at once: more could never speak again (C5)."""
        others = [each for each in self._members.values() if each is not member]
        return sum(each.is_silent or not each.honest for each in others) < self._world.options.faults_max

    def _restore(self, fault: Fault) -> bool:
        """Take a copy of a member's disk, and put it back later: an old backup that speaks again (R11)."""
        member = self._one(fault)
        if not member.up:
            return False
        copies = member.log.copy(), member.ledger.store.copy()
        self._world.clock.after(fault.span_ms, partial(self._put_back, member, *copies, fault.span_ms))
        return True

    def _put_back(self, member: Member, log: VoteLog, store: BlockStore, span_ms: int) -> None:
        """Peers know a higher incarnation and refuse it, but for those that have forgotten: it counts as faulty."""
        if self._over or not member.up or not self._has_room(member):
            return
        self._world.hits["old copy speaks"] += 1
        member.crash(power=False)
        member.honest = False
        self._world.faulty.append(member.founder.member_id)
        member.put_back(log, store)
        self._tell_wiped(member)
        member.start()
        self._world.clock.after(span_ms, partial(self._begin_again, member))

    def _begin_again(self, member: Member) -> None:
        """The operator has seen that an old copy is refused, and begins its vote log again, which keeps it silent."""
        if member.honest or member.is_byzantine:
            return
        member.crash(power=False)
        member.log.wipe()
        member.damaged = member.honest = True
        member.start()

    # --- certificates ---

    def _end_certificate(self, fault: Fault) -> bool:
        """Let what a member shows end soon; some have to connect to it anew before it is renewed."""
        chance, name, clock = fault.chance(), fault.who[0], self._world.clock
        anew = frozenset(each for each in self._members if chance.random() < 0.5)
        at_ms = GENESIS_MS + clock.now_ms + chance.randrange(fault.span_ms)
        self._world.certificates.let_end(name, Ending(at_ms, anew))
        clock.after(fault.span_ms, partial(self._world.certificates.renew, name))
        return True

    # --- clocks ---

    def _set_clock(self, fault: Fault) -> bool:
        chance, member = fault.chance(), self._one(fault)
        jump = chance.randint(-CLOCK_MS, CLOCK_MS) if fault.kind == "clock jump" else -chance.randrange(1, 1_000)
        member.set_clock(jump)
        return member.up

    # --- twins ---

    def _redraw_views(self) -> None:
        if not self._over:
            self._world.views.redraw()
            self._world.clock.after(TWIN_VIEWS_MS, self._redraw_views)

    def _start_twin(self, name: str) -> None:
        """A second instance under the same keys, from a copy of the first one's disk."""
        if self._over:
            return
        first, endpoint = self._members[name], name + SUFFIX
        self._world.hits["twin"] += 1
        self._world.story.note("nemesis", "twin", name)
        second = first.clone(endpoint)
        self._members[endpoint] = second
        self._world.network.receivers[endpoint] = second.receive
        self._world.views.begin(name)
        second.start(first.identity if first.up and self._world.views.clones_session else None)
