----------------------------- MODULE Alliances -----------------------------
(* The committees that TLC is run on, and who may change places in them.   *)
EXTENDS Consensus, TLC

CONSTANTS r1, r2, r3, r4, r5, r6, x, y, z, end, next

Order1 == <<<<r1, r2, r3, r4>>>>
Order2 == <<<<r1, r2, r3, r4>>, <<r1, r3, r5, r6>>>>
Views2 == <<2>>
Views3 == <<3>>
Views21 == <<2, 1>>
Two1 == <<<<{x, y}>>>>
Two1Two2 == <<<<{x, y}, {x, y}>>>>
Two1One2 == <<<<{x, y}, {z}>>>>
One1Two2 == <<<<{z}, {x, y}>>>>
Ending == <<<<{x, end}, {x}>>, <<{}, {next}>>>>
OnlyEnding == <<<<{end}, {x}>>, <<{}, {next}>>>>

(* Backups alike, contents alike: what differs only in these is one state. *)
Swaps(S, T) == {f @@ g : f \in Permutations(S), g \in Permutations(T)}
Swap1 == Swaps({r3, r4}, {x, y})
Contents1 == Permutations({x, y})
Swap2 == Permutations({r5, r6})
=============================================================================
