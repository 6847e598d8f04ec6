/* The lease protocol, small enough to be looked at whole: two workers, two jobs, and a few things that go wrong.
 *
 * A worker joins, reserves, beats, settles (completes, fails, gives back), is frozen and resumed, dies, and starts again
 * under a new name. Its settlement arrives at any time: when it is frozen, has been declared dead, or is dead. The answer
 * may be lost; then the settlement comes again. Living workers reclaim what silent ones hold, a supervisor declares a dead
 * one dead at once, an operator retries dead letters.
 *
 * One step of the store (a transaction, a script) is one `atomic`. What a worker remembers of its lease is `mem`, and
 * it is never asked whether that is still true. Of time only one thing matters: whether the lease of a worker is over
 * (`over`). That may happen to anybody who does not beat, frozen or merely slow. What goes wrong is counted (`trouble`):
 * after that all goes well, nothing can go on for ever, and when nothing can happen any more every job must have ended.
 *
 * Asserted at every step: a job is in exactly one room (so none is lost, and no two leases are live); a write is accepted
 * from the holder of the current lease only; attempts and crashes stay in their bounds. `-DLTL`: the same end as a claim
 * of liveness, with weak fairness.
 *
 * Each of these mutations must be refuted, or the model says nothing:
 *   NO_FENCE      a settlement counts while the job is leased, to whomever
 *   REAP_BLIND    reclaim looks first and takes later, without looking again
 *   LEASE_ANEW    a job that is retried from the dead letters begins with lease number one
 *   NO_RECLAIM    nobody takes the leases of the dead
 *   FORGETFUL     a worker whose claim got no answer goes on under its name
 *   SAME_NAME     a worker that starts again takes the name of its last life
 *   TWO_STEP      a retry deletes the dead letter first and pushes the job later
 *   THIRD_LEASE   none: it claims that no job ever has a third lease, to show that the model gets so far
 */

#define WORKERS 2
#define JOBS 2
#define NAMES 5             /* a worker takes another one each time it joins */
#ifndef TROUBLE
#define TROUBLE 2
#endif
#define MAX_ATTEMPTS 2
#define BUDGET 2

#define NOBODY 0
#define AT(w, j) ((w) * JOBS + (j))
#define NAME(w, n) ((w) * NAMES + (n))
#define ENDED(j) (done[j] || dead[j])
#define MAY_ACT(w) (up[w] && !frozen[w])
#define IS_SILENT(j) (leased[j] && (!alive[holder[j]] || over[holder[j]]))

/* the store */
bool ready[JOBS] = true, leased[JOBS], done[JOBS], dead[JOBS];
byte lease[JOBS], attempt[JOBS], crashes[JOBS];
byte holder[JOBS];          /* a name */
bool alive[WORKERS * NAMES], over[WORKERS * NAMES];

/* the workers */
bool up[WORKERS] = true, frozen[WORKERS], joined[WORKERS], doubts[WORKERS];
byte name[WORKERS];         /* its present one */
byte mem[WORKERS * JOBS];   /* the number of the lease it believes to hold; 0: none */
byte left[WORKERS * JOBS];  /* the settlement of a dead worker that is still on its way */
byte by[WORKERS * JOBS];    /* the name under which that lease was taken: for the assertion only */

byte trouble = TROUBLE;

inline goes_wrong() { trouble > 0; trouble-- }

inline check(j) {
  assert(ready[j] + leased[j] + done[j] + dead[j] == 1);
  assert(attempt[j] <= MAX_ATTEMPTS && crashes[j] <= BUDGET)
}

inline give_back(j) { leased[j] = false; holder[j] = NOBODY; ready[j] = true; attempt[j]-- }

/* the execution is lost: the attempt is given back, the crash is counted */
inline lose(j) {
  leased[j] = false; holder[j] = NOBODY;
#ifndef NO_BUDGET
  crashes[j]++;
#endif
  attempt[j]--;
  if
  :: crashes[j] >= BUDGET -> dead[j] = true
  :: else -> ready[j] = true
  fi;
  check(j)
}

/* a settlement of worker w arrives: job j, under the lease it remembers */
inline settle(w, j, number) {
  if
#ifdef NO_FENCE
  :: leased[j] ->
#else
  :: leased[j] && lease[j] == number ->
#endif
    assert(lease[j] == number && holder[j] == by[AT(w, j)]);          /* no stale write */
    leased[j] = false; holder[j] = NOBODY;
    if
    :: done[j] = true
    :: attempt[j] < MAX_ATTEMPTS -> ready[j] = true                   /* it has failed */
    :: attempt[j] >= MAX_ATTEMPTS -> dead[j] = true
    :: goes_wrong(); attempt[j]--; ready[j] = true                    /* the worker was told to stop */
    fi
  :: else                                                             /* refused: nothing changes */
  fi;
  check(j)
}

proctype Worker(byte w) {
  byte j;
  end: do
  :: atomic { MAY_ACT(w) && !joined[w] ->
       name[w]++; assert(name[w] < NAMES);
       alive[NAME(w, name[w])] = true; joined[w] = true; doubts[w] = false }

  /* reserve. The answer may be lost: then it can't know what it holds, and begins anew */
  :: atomic { MAY_ACT(w) && joined[w] && !doubts[w] && alive[NAME(w, name[w])] && (ready[0] || ready[1]) ->
       if :: ready[0] -> j = 0 :: ready[1] -> j = 1 fi;
       ready[j] = false; leased[j] = true; lease[j]++; attempt[j]++; holder[j] = NAME(w, name[w]);
#ifdef THIRD_LEASE
       assert(lease[j] < 3);
#endif
       if
       :: mem[AT(w, j)] = lease[j]; by[AT(w, j)] = holder[j]
       :: goes_wrong();
#ifndef FORGETFUL
          doubts[w] = true
#endif
       fi;
       check(j) }

  /* beat, when it is time to. False: it was declared dead */
  :: atomic { MAY_ACT(w) && joined[w] && !doubts[w] && (over[NAME(w, name[w])] || !alive[NAME(w, name[w])]) ->
       if
       :: alive[NAME(w, name[w])] -> over[NAME(w, name[w])] = false
       :: else -> doubts[w] = true
       fi }

  /* begin anew: what the old name still holds is given back */
  :: atomic { MAY_ACT(w) && joined[w] && doubts[w] ->
       for (j : 0 .. JOBS - 1) {
         if :: leased[j] && holder[j] == NAME(w, name[w]) -> give_back(j); check(j) :: else fi
       }
       j = 0; alive[NAME(w, name[w])] = false; over[NAME(w, name[w])] = false; joined[w] = false }

  od
}

/* carries settlements, late, and loses answers */
proctype Network() {
  byte w, j;
  end: do
  :: atomic { mem[0] || mem[1] || mem[2] || mem[3] ->
       if
       :: mem[0] -> w = 0; j = 0
       :: mem[1] -> w = 0; j = 1
       :: mem[2] -> w = 1; j = 0
       :: mem[3] -> w = 1; j = 1
       fi;
       settle(w, j, mem[AT(w, j)]);
       if
       :: mem[AT(w, j)] = 0; by[AT(w, j)] = NOBODY
       :: goes_wrong()                                                /* the answer is lost; it will come again */
       fi;
       w = 0; j = 0 }
  :: atomic { left[0] || left[1] || left[2] || left[3] ->
       if
       :: left[0] -> w = 0; j = 0
       :: left[1] -> w = 0; j = 1
       :: left[2] -> w = 1; j = 0
       :: left[3] -> w = 1; j = 1
       fi;
       settle(w, j, left[AT(w, j)]);
       left[AT(w, j)] = 0;
       if :: !mem[AT(w, j)] -> by[AT(w, j)] = NOBODY :: else fi;
       w = 0; j = 0 }
  od
}

/* what living workers do for dead ones: in one step, looking and taking */
proctype Reclaim() {
  byte j, n;
#ifdef REAP_BLIND
  bool found = false;
#endif
  end: do
#ifdef REAP_BLIND
  :: atomic { !found && (IS_SILENT(0) || IS_SILENT(1)) ->
       if :: IS_SILENT(0) -> j = 0 :: IS_SILENT(1) -> j = 1 fi;
       found = true }
  :: atomic { found -> found = false; leased[j] = false; holder[j] = NOBODY; ready[j] = true;
       if :: attempt[j] -> attempt[j]-- :: else fi;
       check(j); j = 0 }
#elif !defined(NO_RECLAIM)
  :: atomic { (MAY_ACT(0) || MAY_ACT(1)) && (IS_SILENT(0) || IS_SILENT(1)) ->
       if :: IS_SILENT(0) -> j = 0 :: IS_SILENT(1) -> j = 1 fi;
       n = holder[j]; alive[n] = false; over[n] = false;              /* dead from now on, for all its leases */
       for (j : 0 .. JOBS - 1) {
         if :: leased[j] && holder[j] == n -> lose(j) :: else fi
       }
       j = 0; n = 0 }
#else
  :: false
#endif
  od
}

/* freezes, kills, lets leases run out; and brings everybody back */
proctype Nemesis() {
  byte w, j;
  end: do
  :: atomic { trouble > 0 && (MAY_ACT(0) || MAY_ACT(1)) ->
       if :: MAY_ACT(0) -> w = 0 :: MAY_ACT(1) -> w = 1 fi;
       trouble--;
       if
       :: frozen[w] = true
       :: up[w] = false; doubts[w] = false;
          for (j : 0 .. JOBS - 1) {
            if
            :: left[AT(w, j)] = mem[AT(w, j)]                         /* it was sent, and arrives all the same */
            :: mem[AT(w, j)] -> by[AT(w, j)] = NOBODY
            fi;
            mem[AT(w, j)] = 0
          }
          j = 0
       fi; w = 0 }
  :: atomic { trouble > 0 && joined[0] && alive[NAME(0, name[0])] && !over[NAME(0, name[0])] ->
       trouble--; over[NAME(0, name[0])] = true }
  :: atomic { trouble > 0 && joined[1] && alive[NAME(1, name[1])] && !over[NAME(1, name[1])] ->
       trouble--; over[NAME(1, name[1])] = true }
  :: atomic { frozen[0] -> frozen[0] = false }
  :: atomic { frozen[1] -> frozen[1] = false }
  od
}

/* knows its children: a dead one is declared dead at once, and followed by another one under a new name */
proctype Supervisor() {
  byte w, j;
  end: do
  :: atomic { !up[0] || !up[1] ->
       if :: !up[0] -> w = 0 :: !up[1] -> w = 1 fi;
#ifndef SAME_NAME
       if
       :: joined[w] && alive[NAME(w, name[w])] ->
          alive[NAME(w, name[w])] = false; over[NAME(w, name[w])] = false;
          for (j : 0 .. JOBS - 1) {
            if :: leased[j] && holder[j] == NAME(w, name[w]) -> lose(j) :: else fi
          }
       :: joined[w] && alive[NAME(w, name[w])] -> over[NAME(w, name[w])] = true   /* or its lease runs out */
       :: else
       fi;
       joined[w] = false;
#endif
       up[w] = true; w = 0; j = 0 }
  od
}

/* retries dead letters: attempts and crashes begin anew, lease numbers never */
proctype Operator() {
  byte j;
#ifdef TWO_STEP
  bool holds = false;
#endif
  end: do
#ifdef TWO_STEP
  :: atomic { trouble > 0 && !holds && (dead[0] || dead[1]) ->
       if :: dead[0] -> j = 0 :: dead[1] -> j = 1 fi;
       trouble--; dead[j] = false; holds = true; check(j) }
  :: atomic { holds -> ready[j] = true; holds = false; attempt[j] = 0; crashes[j] = 0; j = 0 }
#else
  :: atomic { trouble > 0 && (dead[0] || dead[1]) ->
       if :: dead[0] -> j = 0 :: dead[1] -> j = 1 fi;
       trouble--; dead[j] = false; ready[j] = true; attempt[j] = 0; crashes[j] = 0;
#ifdef LEASE_ANEW
       lease[j] = 0;
#endif
       check(j); j = 0 }
#endif
  od
}

init {
  atomic { run Worker(0); run Worker(1); run Network(); run Reclaim(); run Nemesis(); run Supervisor(); run Operator() }
#ifndef LTL
  timeout -> assert(ENDED(0) && ENDED(1))                             /* nothing can happen any more */
#endif
}

#ifdef LTL
ltl ends { <> [] (ENDED(0) && ENDED(1)) }
#endif
