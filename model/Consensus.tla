----------------------------- MODULE Consensus -----------------------------
(***************************************************************************)
(* Ordering with committee change: rules C1 to C3 and C7, without time.    *)
(*                                                                         *)
(* A block is the chain it ends: the sequence of contents from height 1.   *)
(* Its hash covers its parent's, so two blocks are equal when their chains *)
(* are. Epochs have contents of their own, as headers name their epoch.    *)
(*                                                                         *)
(* The network keeps everything and gives everybody what it likes: a       *)
(* certificate can be used from the moment its votes exist, by whoever     *)
(* comes upon it, or never. A faulty replica has no state: it has signed   *)
(* everything, at all times, for everybody. It cannot sign for others.     *)
(*                                                                         *)
(* Read beside services/consilium/consensus/core: each action names its    *)
(* function there. What is left out is listed in README.md.                *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
  Order,      \* for every epoch its delegates, in the order of their views
  Bad,        \* the faulty ones
  Views,      \* for every epoch how many views are looked at
  HeightMax,
  Contents,   \* for every epoch and height what a block may hold
  End,        \* the content that ends an epoch: a handover
  Bug         \* "none", or which rule is broken on purpose

VARIABLES
  votes,      \* [epoch][replica]: <<view, block>> proposed or prepared
  commits,    \* [epoch][replica]: <<view, block>> prepared there, hence committed to and kept
  view,       \* [epoch][replica]: the view it is in, or waits for
  calls,      \* [epoch][replica]: the views called for (view changes)
  plans,      \* [epoch][replica]: <<view, block>>: the new views entered, with the end of what each proposes again
  boundary    \* [replica]: the executed block that ended epoch 1, or <<>>

vars == <<votes, commits, view, calls, plans, boundary>>

Epochs == 1..Len(Order)
Seats(e) == {Order[e][i] : i \in 1..Len(Order[e])}
Good(e) == Seats(e) \ Bad
Honest == UNION {Good(e) : e \in Epochs}
Faults(e) == (Len(Order[e]) - 1) \div 3
Quorum(e) == IF Bug = "small quorum" THEN Faults(e) + 1 ELSE 2 * Faults(e) + 1
Primary(e, v) == Order[e][(v % Len(Order[e])) + 1]
BadIn(e) == Cardinality(Seats(e) \cap Bad)

Parent(b) == SubSeq(b, 1, Len(b) - 1)
IsPrefix(b, c) == Len(b) <= Len(c) /\ SubSeq(c, 1, Len(b)) = b
Comparable(b, c) == IsPrefix(b, c) \/ IsPrefix(c, b)
EndsEpoch(b) == b # <<>> /\ b[Len(b)] = End

RECURSIVE Grown(_, _)
Grown(e, roots) ==
  LET more == UNION {{Append(b, z) : z \in Contents[e][Len(b) + 1]} : b \in {c \in roots : Len(c) < HeightMax}} \ roots
  IN IF more = {} THEN roots ELSE Grown(e, roots \cup more)
FirstBlocks == Grown(1, {<<>>}) \ {<<>>}
Ends == {b \in FirstBlocks : EndsEpoch(b)}
Blocks == [e \in Epochs |-> IF e = 1 THEN FirstBlocks ELSE Grown(e, Ends) \ Ends]

-----------------------------------------------------------------------------
(* Certificates: what can be shown, given all that was ever signed.        *)

Enough(e, S) == Cardinality(S) + BadIn(e) >= Quorum(e)

Prepared(e, v, b) ==
  /\ Enough(e, {r \in Good(e) : <<v, b>> \in votes[e][r]})
  /\ IF Primary(e, v) \in Bad THEN TRUE ELSE <<v, b>> \in votes[e][Primary(e, v)]

Committed(e, v, b) == Enough(e, {r \in Good(e) : <<v, b>> \in commits[e][r]})
CommittedIn(e, b) == \E v \in 0..(Views[e] - 1) : Committed(e, v, b)

(* All that exist, as <<view, block>>.                                     *)
PreparedOf(e) == {m \in UNION {votes[e][r] : r \in Good(e)} : Prepared(e, m[1], m[2])}
CommittedOf(e) == {m \in UNION {commits[e][r] : r \in Good(e)} : Committed(e, m[1], m[2])}

(* The result certificate of the block that ended epoch 1 (L3).            *)
ResultCertified(b) == Enough(1, {r \in Good(1) : boundary[r] = b})

-----------------------------------------------------------------------------
(* Where a replica stands.                                                 *)

Active(e, r) == IF e = 1 THEN boundary[r] = <<>> ELSE boundary[r] # <<>>
Root(e, r) == IF e = 1 THEN <<>> ELSE boundary[r]

(* The end of what a view began with; nothing when it is not entered.      *)
PlansOf(e, r, v) == IF v = 0 THEN {Root(e, r)} ELSE {m[2] : m \in {o \in plans[e][r] : o[1] = v}}
Working(e, r) == Active(e, r) /\ PlansOf(e, r, view[e][r]) # {}
Plan(e, r) == CHOOSE b \in PlansOf(e, r, view[e][r]) : TRUE

HasVoted(e, r, height) == \E m \in votes[e][r] : m[1] = view[e][r] /\ Len(m[2]) = height

(* `block_at`: accepted in this view, or executed.                         *)
Accepted(e, r, b) ==
  IF b = Root(e, r) \/ <<view[e][r], b>> \in votes[e][r] THEN TRUE ELSE CommittedIn(e, b)

(* `prepared_below`: a prepare and a commit wait for this (C3).            *)
PreparedBelow(e, r, b) ==
  IF b = Root(e, r) \/ <<view[e][r], b>> \in commits[e][r] \/ Bug = "early prepare" THEN TRUE ELSE CommittedIn(e, b)

(* `barred`: nothing above a handover until it is executed; then this epoch is over (C3, C7). *)
Barred(e, b) == e = 1 /\ EndsEpoch(b) /\ Bug # "above handover"

(* `founded`: the boundary's result certificate (C7).                      *)
Founded(e, r) ==
  IF e = 1 \/ Bug \in {"unfounded", "prepared boundary"} THEN TRUE ELSE ResultCertified(boundary[r])

-----------------------------------------------------------------------------
(* View changes and what follows from them: `plan_new_view`.               *)

(* Of every height the certificate of the highest view; ties are kept.     *)
Best(S, height) ==
  {m \in S : Len(m[2]) = height /\ \A o \in S : Len(o[2]) = height =>
     IF Bug = "lowest view" THEN m[1] <= o[1] ELSE o[1] <= m[1]}

(* An honest call's content is fixed when it is sent: the caller never again votes below its view. *)
Content(e, r, v) ==
  LET below == {m \in commits[e][r] : m[1] < v}
  IN {m \in below : \A o \in below : Len(o[2]) = Len(m[2]) => o[1] <= m[1]}

RECURSIVE Chain(_, _)
Chain(S, b) ==
  LET next == {c \in {m[2] : m \in Best(S, Len(b) + 1)} : Parent(c) = b}
  IN IF next = {} THEN {b} ELSE UNION {Chain(S, c) : c \in next}

(* What a faulty caller may show of all that exists below view v: any part. *)
Shown(e, v) == IF BadIn(e) = 0 THEN {{}} ELSE SUBSET {m \in PreparedOf(e) : m[1] < v}

(* What a new view v may propose again, by the calls that are there.       *)
NewViews(e, v, root) ==
  LET callers == {r \in Good(e) : v \in calls[e][r]}
      quorums == {Q \in SUBSET callers : Enough(e, Q)}
      known == {UNION {Content(e, r, v) : r \in Q} \cup S : Q \in quorums, S \in Shown(e, v)}
  IN IF quorums = {} THEN {}
     ELSE IF Bug = "forgetful view" THEN {root}
     ELSE UNION {Chain(S, root) : S \in known}

-----------------------------------------------------------------------------
Init ==
  /\ votes = [e \in Epochs |-> [r \in Good(e) |-> {}]]
  /\ commits = [e \in Epochs |-> [r \in Good(e) |-> {}]]
  /\ view = [e \in Epochs |-> [r \in Good(e) |-> 0]]
  /\ calls = [e \in Epochs |-> [r \in Good(e) |-> {}]]
  /\ plans = [e \in Epochs |-> [r \in Good(e) |-> {}]]
  /\ boundary = [r \in Honest |-> <<>>]

(* `_propose`: an honest primary's first proposal at a height of its view. *)
MayPropose(e, r, b) ==
  /\ Primary(e, view[e][r]) = r
  /\ Len(b) > Len(Plan(e, r)) /\ ~HasVoted(e, r, Len(b))
  /\ Accepted(e, r, Parent(b)) /\ ~Barred(e, Parent(b)) /\ Founded(e, r)

(* What is proposed to a backup: the new view's plan, then what its primary says; a faulty one proposes everything. *)
IsProposed(e, r, b) ==
  LET primary == Primary(e, view[e][r])
  IN IF Len(b) <= Len(Plan(e, r)) THEN IsPrefix(b, Plan(e, r))
     ELSE IF primary \in Bad THEN TRUE ELSE <<view[e][r], b>> \in votes[e][primary]

(* `_fits` and `_advance_slot`: a backup accepts and prepares.             *)
MayPrepare(e, r, b) ==
  /\ Primary(e, view[e][r]) # r /\ IsProposed(e, r, b) /\ ~HasVoted(e, r, Len(b))
  /\ Accepted(e, r, Parent(b)) /\ ~Barred(e, Parent(b))
  /\ PreparedBelow(e, r, Parent(b))

(* `_commit_if_prepared`.                                                  *)
MayCommit(e, r, m) == m[1] = view[e][r] /\ Prepared(e, m[1], m[2]) /\ PreparedBelow(e, r, Parent(m[2]))

Vote(e, r, b) ==
  /\ votes' = [votes EXCEPT ![e][r] = @ \cup {<<view[e][r], b>>}]
  /\ UNCHANGED <<commits, view, calls, plans, boundary>>
Propose(e, r, b) == MayPropose(e, r, b) /\ Vote(e, r, b)
Prepare(e, r, b) == MayPrepare(e, r, b) /\ Vote(e, r, b)

Commit(e, r, m) ==
  /\ MayCommit(e, r, m)
  /\ commits' = [commits EXCEPT ![e][r] = @ \cup {m}]
  /\ UNCHANGED <<votes, view, calls, plans, boundary>>

(* `call_for_view`, whatever the reason.                                   *)
Call(e, r) ==
  LET v == view[e][r] + 1
  IN /\ v < Views[e]
     /\ view' = [view EXCEPT ![e][r] = v]
     /\ calls' = [calls EXCEPT ![e][r] = @ \cup {v}]
     /\ UNCHANGED <<votes, commits, plans, boundary>>

(* `_announce`: an honest primary opens its view once, its proposals signed with it. *)
Open(e, r) ==
  LET v == view[e][r]
  IN /\ Primary(e, v) = r
     /\ \E b \in NewViews(e, v, Root(e, r)) :
          /\ plans' = [plans EXCEPT ![e][r] = @ \cup {<<v, b>>}]
          /\ votes' = [votes EXCEPT ![e][r] =
               @ \cup {<<v, SubSeq(b, 1, h)>> : h \in (Len(Root(e, r)) + 1)..Len(b)}]
     /\ UNCHANGED <<commits, view, calls, boundary>>

(* `on_new_view`: a backup enters; a faulty primary may announce one thing here, another there. *)
Enter(e, r, v) ==
  LET primary == Primary(e, v)
      announced == IF primary \in Bad THEN NewViews(e, v, Root(e, r)) ELSE PlansOf(e, primary, v)
  IN /\ primary # r /\ view[e][r] <= v /\ PlansOf(e, r, v) = {}
     /\ view' = [view EXCEPT ![e][r] = v]
     /\ \E b \in announced : plans' = [plans EXCEPT ![e][r] = @ \cup {<<v, b>>}]
     /\ UNCHANGED <<votes, commits, calls, boundary>>

(* `on_executed` at the epoch's last block: its result is signed, its epoch left for good. *)
MayCross(r, b) ==
  /\ boundary[r] = <<>>
  /\ IF Bug = "prepared boundary" THEN \E m \in PreparedOf(1) : m[2] = b ELSE CommittedIn(1, b)

Cross(r, b) ==
  /\ MayCross(r, b)
  /\ boundary' = [boundary EXCEPT ![r] = b]
  /\ UNCHANGED <<votes, commits, view, calls, plans>>

Ordering(e, r) ==
  \/ \E b \in Blocks[e] : Propose(e, r, b) \/ Prepare(e, r, b)
  \/ \E m \in votes[e][r] \ commits[e][r] : Commit(e, r, m)

ChangeView(e, r) ==
  \/ Call(e, r)
  \/ \E v \in (1..(Views[e] - 1)) : Enter(e, r, v)
  \/ ~Working(e, r) /\ Open(e, r)

Next ==
  \/ \E e \in Epochs : \E r \in Good(e) :
       \/ Working(e, r) /\ Ordering(e, r)
       \/ Active(e, r) /\ ChangeView(e, r)
  \/ \E r \in Honest, b \in Ends : Cross(r, b)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(***************************************************************************)
(* The same with fewer interleavings, for larger cases. A step may be taken *)
(* at once when its replica has no other choice in its place, it disables   *)
(* nothing, and nothing it adds narrows what others may do later:           *)
(*   - a prepare whose proposal is the only one there can be: the plan's,   *)
(*     an honest primary's, or that of a height with a single content;      *)
(*   - a commit in the last view looked at. In a lower one it is different: *)
(*     it binds the replica's later call;                                   *)
(*   - an honest primary's proposal, with every content it may choose;      *)
(*   - the crossing of a member without a seat in epoch 1.                  *)
(* Votes, commits and certificates only grow, and what the invariants       *)
(* forbid stays forbidden when more is added, so a violation reached        *)
(* without such a step is also reached with it. The cases of one height,    *)
(* and one of two, are searched both ways.                                  *)
(***************************************************************************)
Workers(e) == {r \in Good(e) : Working(e, r)}
IsSole(e, r, b) ==
  \/ Len(b) <= Len(Plan(e, r))
  \/ Primary(e, view[e][r]) \notin Bad
  \/ Parent(b) = Root(e, r) /\ Cardinality(Contents[e][Len(b)]) = 1

PromptVotes(e, r) == {<<view[e][r], b>> : b \in {c \in Blocks[e] : IsSole(e, r, c) /\ MayPrepare(e, r, c)}}
PromptCommits(e, r) ==
  IF view[e][r] + 1 < Views[e] THEN {} ELSE {m \in votes[e][r] \ commits[e][r] : MayCommit(e, r, m)}

Prompt ==
  LET more == [e \in Epochs |-> [r \in Workers(e) |-> <<PromptVotes(e, r), PromptCommits(e, r)>>]]
      some == \E e \in Epochs : \E r \in Workers(e) : more[e][r] # <<{}, {}>>
      with(all, i) == [e \in Epochs |-> [r \in Good(e) |-> all[e][r] \cup IF r \in Workers(e) THEN more[e][r][i] ELSE {}]]
      proposals == UNION {{e} \X UNION {{r} \X {b \in Blocks[e] : MayPropose(e, r, b)} : r \in Workers(e)} : e \in Epochs}
      newcomers == {m \in (Honest \ Good(1)) \X Ends : MayCross(m[1], m[2])}
  IN IF some
       THEN votes' = with(votes, 1) /\ commits' = with(commits, 2) /\ UNCHANGED <<view, calls, plans, boundary>>
       ELSE IF proposals # {}
         THEN \E m \in proposals : Vote(m[1], m[2][1], m[2][2])
         ELSE IF newcomers # {} THEN \E m \in newcomers : Cross(m[1], m[2]) ELSE Next

PromptSpec == Init /\ [][Prompt]_vars

-----------------------------------------------------------------------------
(* What must hold.                                                         *)

(* No fork: all blocks that anybody could ever show a commit certificate for lie on one chain. *)
Agreement ==
  LET certified == UNION {CommittedOf(e) : e \in Epochs}
  IN \A m, o \in certified : Comparable(m[2], o[2])

(* A committed block binds this view and all later ones of its epoch.      *)
Lock ==
  \A e \in Epochs :
    LET committed == CommittedOf(e)
    IN IF committed = {} THEN TRUE
       ELSE \A m \in committed, o \in PreparedOf(e) : m[1] <= o[1] => Comparable(m[2], o[2])

(* One view prepares one chain.                                            *)
OneView ==
  \A e \in Epochs :
    LET prepared == PreparedOf(e)
    IN \A m, o \in prepared : m[1] = o[1] => Comparable(m[2], o[2])

(* The next committee stands on a committed end, and its honest primaries propose on a certified one (C7). *)
Handover ==
  \A e \in Epochs \ {1} : \A r \in Good(e) :
    /\ boundary[r] # <<>> => CommittedIn(1, boundary[r])
    /\ (\E m \in votes[e][r] : Primary(e, m[1]) = r /\ \A b \in PlansOf(e, r, m[1]) : Len(m[2]) > Len(b))
         => ResultCertified(boundary[r])

-----------------------------------------------------------------------------
(* What must be possible: TLC has to refute these, else the model says nothing. *)

NoLaterView == \A e \in Epochs : \A m \in CommittedOf(e) : m[1] + 1 < Views[e]
NoFullChain == \A e \in Epochs : \A m \in CommittedOf(e) : Len(m[2]) < HeightMax
NoNextEpoch == \A e \in Epochs \ {1} : CommittedOf(e) = {}
=============================================================================
