/* The life of a job as the queue lets it happen: claim, heartbeat, rescue, settle, complete.
 *
 * A model that `spin` explores whole: every order in which the steps below can follow each other, with every fault at
 * every moment. How it maps to the code and what it leaves out: docs/decisions/0040-model-checking.md.
 *
 * 1. Jobs wait in a store. A claim gives a job the worker's name and a larger token, and counts the attempt.
 * 2. An exchange carries what has ended at a worker, and may claim one more job. It is sent, carried out and answered
 *    in three steps. The request or the answer may be lost, and a request may be carried out late.
 * 3. A settlement is written only while its job runs under the very name and token that the settlement gives.
 * 4. The lease of a worker may end at any time: it was slow, or somebody's clock was wrong. One heartbeat later it
 *    knows, drops all that it has, and goes on under a new name. Until then it does as it likes.
 * 5. A rescuer looks for jobs under names without a lease, and settles them as crashed or released, fenced as
 *    everybody is. `POISON_AFTER` crashes make a job dead.
 * 6. A worker without an answer asks the store what it holds and what was settled (recover), and sends the rest. When
 *    nothing of what it sent can arrive any more it looks once again.
 * 7. Job 0 has an effect, in one transaction with its success. The worker settles it as failed all the same, which is
 *    refused if the transaction was committed.
 * 8. Faults are bounded, and so is all else: every run ends. When nothing can happen any more each job has to be
 *    final: "when the faults stop, every accepted job ends". (But for one in a transaction of a machine that is gone,
 *    while the server has not noticed.)
 *
 * How to read it. `do` and `if` take any one of their lines (`::`) whose first statement can be done just then, and
 * wait when there is none; spin tries all of them. `atomic` and `d_step` are done with nobody coming in between: a
 * statement of the store, or what a worker does between two of them. An `inline` is a macro. Nothing is really sent:
 * the store and its clients are processes that share variables, and what a client knows of a job is a copy.
 *
 * What must never be is listed under "the promises". Variants that are wrong on purpose are made with -DNO_FENCE and
 * the like, an #ifdef each; test_models.py says which promise each of them breaks.
 */

/* ---- the bounds: test_models.py gives others ------------------------------------------------------------------- */

#ifndef JOBS
#define JOBS 2           /* 1 or 2 */
#endif
#ifndef FAULTS
#define FAULTS 2         /* deaths, leases that end under a living worker, lost messages, jobs given back: in all */
#endif
#ifndef RESCUERS
#define RESCUERS 1
#endif
#ifndef POISON_AFTER
#define POISON_AFTER 2
#endif
#ifndef MAX_ATTEMPTS
#define MAX_ATTEMPTS 2
#endif
#define WORKERS 2

/* ---- what there is --------------------------------------------------------------------------------------------- */

mtype:state = { QUEUED, RETRYING, RUNNING, SUCCEEDED, DEAD };
mtype:verb = { NONE, SUCCEED, FAIL, RELEASE, CRASH };
mtype:phase = { NOTHING, AT_WORK, IN_TRANSACTION, ENDED };
mtype:wire = { IDLE, SENT, ANSWERED, UNKNOWN, ASKED };

typedef Claim {          /* a job as it was when it was claimed */
    byte token;          /* 0: there is none */
    byte name;
    byte attempt;
    byte crashes
};

typedef Job {            /* as it is stored */
    mtype:state state;
    Claim claim;         /* the last one */
    bool locked          /* by a transaction that has completed it, and is open */
};

typedef Settlement {
    mtype:verb verb;
    Claim claim;
    bool completed       /* by the task, in a transaction of its own */
};

typedef Hand {           /* what a worker does with one job */
    mtype:phase phase;
    Settlement end       /* its claim, and how it has ended */
};

typedef Desk {
    Hand hand[JOBS]
};

typedef Exchange {
    mtype:wire wire;
    byte name;           /* of the worker when it began */
    bool claims;
    Settlement settle[JOBS];
    bool refused[JOBS];
    Claim got[JOBS]
};

Job job[JOBS];
byte name[WORKERS];      /* worker w is called w, then w + WORKERS, and so on */
bool live[WORKERS];      /* whether the lease of that name holds; those of earlier names have ended */
Desk desk[WORKERS];
Exchange exchange[WORKERS];
Exchange late[WORKERS];  /* a request that its worker has given up, and that may still arrive */
bool doubt[WORKERS];     /* whether the worker has to look again */
byte faults = FAULTS;

/* For the promises alone: what nobody in the system knows. */
byte effects;            /* of job 0 */
byte settled_at[JOBS];   /* the largest token under which the job was settled */
byte killed[JOBS];       /* workers that died while they ran it and owned it */
byte killed_at[JOBS];    /* the token under which the last of them did */

/* ---- the promises ---------------------------------------------------------------------------------------------- */

/* Each is named for what must never be: spin says `assertion violated !(two_owners)`. */
bool two_owners, old_claim_settled, claim_settled_twice, final_state_left, too_many_attempts, too_many_crashes;
bool too_many_kills, effect_twice, success_without_effect, dead_with_effect, taken_twice, false_report, job_lost;

#define NEVER(wrong, condition) wrong = (condition); assert(!wrong)

#define FINAL(j) (job[j].state == SUCCEEDED || job[j].state == DEAD)
#define LIVE(whose) (name[(whose) % WORKERS] == (whose) && live[(whose) % WORKERS])
#define WORKS(w, j) (desk[w].hand[j].phase == AT_WORK || desk[w].hand[j].phase == IN_TRANSACTION)
#define OWNS(w, j) (WORKS(w, j) && LIVE(desk[w].hand[j].end.claim.name))

inline promised(j) {     /* checked after each change of a job */
    NEVER(two_owners, OWNS(0, j) && OWNS(1, j));
    NEVER(too_many_attempts, job[j].claim.attempt > MAX_ATTEMPTS);
    NEVER(too_many_crashes, job[j].claim.crashes > POISON_AFTER);
    NEVER(too_many_kills, killed[j] > POISON_AFTER);
    NEVER(effect_twice, effects > 1);
    NEVER(success_without_effect, job[0].state == SUCCEEDED && effects == 0);
    NEVER(dead_with_effect, job[0].state == DEAD && effects > 0)
}

/* ---- the store ------------------------------------------------------------------------------------------------- */

hidden byte i;
hidden byte held;

inline copy(to, from) {
    to.token = from.token;
    to.name = from.name;
    to.attempt = from.attempt;
    to.crashes = from.crashes
}

inline forget(it) {
    it.token = 0;
    it.name = 0;
    it.attempt = 0;
    it.crashes = 0
}

inline forget_settlement(it) {
    it.verb = NONE;
    forget(it.claim);
    it.completed = false
}

inline clear(x) {
    x.wire = IDLE;
    x.name = 0;
    x.claims = false;
    for (i : 0 .. JOBS - 1) {
        forget_settlement(x.settle[i]);
        x.refused[i] = false;
        forget(x.got[i])
    }
    i = 0
}

/* The fence. */
#define SAME(a, b) (a.token == b.token && a.name == b.name)
#if defined(NO_TOKEN) /* the name alone */
#define HOLDS(j, c) (job[j].state == RUNNING && job[j].claim.name == c.name)
#elif defined(NO_FENCE)
#define HOLDS(j, c) (job[j].state == RUNNING)
#elif defined(NO_STATE_IN_GUARD)
#define HOLDS(j, c) SAME(job[j].claim, c)
#else
#define HOLDS(j, c) (job[j].state == RUNNING && SAME(job[j].claim, c))
#endif

/* A statement that would write a locked row waits for the transaction. */
#define MUST_WAIT(j, s) (s.verb != NONE && job[j].locked && HOLDS(j, s.claim))

#if JOBS == 1
#define WORK (job[0].state == QUEUED)
#define MAY_GO_ON(x) (!MUST_WAIT(0, x.settle[0]))
#else
#define WORK (job[0].state == QUEUED || job[1].state == QUEUED)
#define MAY_GO_ON(x) (!MUST_WAIT(0, x.settle[0]) && !MUST_WAIT(1, x.settle[1]))
#endif

#ifdef RESCUE_COUNTS_NO_CRASH
#define CRASHES(c) c.crashes
#else
#define CRASHES(c) (c.crashes + 1)
#endif

/* What becomes of a job, decided with what the claim said. */
#define BECOMES(s) (s.verb == SUCCEED -> SUCCEEDED : (s.verb == RELEASE -> QUEUED : (s.verb == CRASH \
    -> (CRASHES(s.claim) >= POISON_AFTER -> DEAD : QUEUED) : (s.claim.attempt >= MAX_ATTEMPTS -> DEAD : RETRYING))))

/* Write how a claim ends, if it still holds. An attempt that did not end by itself does not count. */
inline write_settlement(j, given) {
    held = HOLDS(j, given.claim);
    if
    :: held ->
        NEVER(final_state_left, FINAL(j));
        NEVER(old_claim_settled, !SAME(job[j].claim, given.claim));
        NEVER(claim_settled_twice, settled_at[j] >= given.claim.token);
        settled_at[j] = given.claim.token;
        job[j].state = BECOMES(given);
        job[j].claim.attempt = given.claim.attempt - (job[j].state == QUEUED);
        job[j].claim.crashes = (given.verb == CRASH -> CRASHES(given.claim) : given.claim.crashes);
        promised(j)
    :: else
    fi
}

inline write_claim(j, whose, given) {
    job[j].state = RUNNING;
    job[j].claim.attempt++;
    job[j].claim.token++;
    job[j].claim.name = whose;
    copy(given, job[j].claim);
    promised(j)
}

/* Settle what an exchange carries, and claim. Only who has a lease is given a job; but the store may have looked for
 * that a little before it gives one, and the lease may end in between.
 */
inline carry_out(x) {
    for (i : 0 .. JOBS - 1) {
        if
        :: x.settle[i].verb != NONE ->
            write_settlement(i, x.settle[i]);
            x.refused[i] = !held
        :: else
        fi
    }
    i = 0;
    if
    :: /* job 0 is claimed */ x.claims && job[0].state == QUEUED -> write_claim(0, x.name, x.got[0])
#if JOBS > 1
    :: /* job 1 is claimed */ x.claims && job[1].state == QUEUED -> write_claim(1, x.name, x.got[1])
#endif
    :: !x.claims || !WORK || !LIVE(x.name)
    fi
}

/* Carries out the exchanges of worker w: that for whose answer it waits, and that which it has given up. */
proctype Store(byte w) {
end:
    do
    :: /* carries the exchange out */ atomic { exchange[w].wire == SENT && MAY_GO_ON(exchange[w]) ->
        carry_out(exchange[w]);
        exchange[w].wire = ANSWERED
      }
    :: /* carries out, late, what was given up */ atomic { late[w].wire == SENT && MAY_GO_ON(late[w]) ->
        carry_out(late[w]);
        clear(late[w])
      }
    :: /* never gets what was given up */ d_step { late[w].wire == SENT -> clear(late[w]) }
    od
}

/* Makes jobs that are to be tried again due. */
proctype Stage() {
end:
    do
    :: /* job 0 is due again */ d_step { job[0].state == RETRYING -> job[0].state = QUEUED }
#if JOBS > 1
    :: /* job 1 is due again */ d_step { job[1].state == RETRYING -> job[1].state = QUEUED }
#endif
    od
}

/* Settles what the owners of ended leases have left. To look and to settle are two statements: others come between. */
#ifdef RESCUE_WAITS_FOR_LOCKS
#define ORPHAN(j) (job[j].state == RUNNING && !LIVE(job[j].claim.name))
#else
#define ORPHAN(j) (job[j].state == RUNNING && !LIVE(job[j].claim.name) && !job[j].locked)
#endif

/* The process has died, and its supervisor saw that it did not run the job: no crash is held against that. */
#define NOT_STARTED(j, c) (name[c.name % WORKERS] != c.name && killed_at[j] != c.token)

inline found(j_) {
    j = j_;
    s.verb = CRASH;
    copy(s.claim, job[j_].claim)
}

proctype Rescue() {
    byte j;
    Settlement s;
    s.verb = NONE;
end:
    do
    :: /* finds job 0 */ d_step { s.verb == NONE && ORPHAN(0) -> found(0) }
#if JOBS > 1
    :: /* finds job 1 */ d_step { s.verb == NONE && ORPHAN(1) -> found(1) }
#endif
    :: /* knows that it had not started */ d_step { s.verb == CRASH && NOT_STARTED(j, s.claim) -> s.verb = RELEASE }
    :: /* settles it */ d_step { s.verb != NONE && !MUST_WAIT(j, s) ->
        write_settlement(j, s);
        forget_settlement(s);
        j = 0
      }
#ifndef RESCUE_WAITS_FOR_LOCKS
    :: /* waits for a lock, and gives up */ d_step { s.verb != NONE && MUST_WAIT(j, s) ->
        forget_settlement(s);
        j = 0
      }
#endif
    od
}

/* ---- a worker -------------------------------------------------------------------------------------------------- */

#define HAND(j) desk[w].hand[j]
#define KNOWN(x, j) (HAND(j).phase != NOTHING || x.settle[j].verb != NONE)

inline ended(j, how, completed_) {
    HAND(j).phase = ENDED;
    HAND(j).end.verb = how;
    HAND(j).end.completed = completed_
}

inline drop(j) {
    HAND(j).phase = NOTHING;
    forget_settlement(HAND(j).end)
}

/* What has ended goes into the next exchange. */
inline gather(x) {
    x.name = name[w];
    for (i : 0 .. JOBS - 1) {
        if
        :: HAND(i).phase == ENDED ->
            x.settle[i].verb = HAND(i).end.verb;
            x.settle[i].completed = HAND(i).end.completed;
            copy(x.settle[i].claim, HAND(i).end.claim);
            drop(i)
        :: else
        fi
    }
    i = 0
}

#if JOBS == 1
#define SOMETHING_ENDED (HAND(0).phase == ENDED)
#define TRANSACTION_OPEN (HAND(0).phase == IN_TRANSACTION)
#define GOT(x) (x.got[0].token > 0)
#else
#define SOMETHING_ENDED (HAND(0).phase == ENDED || HAND(1).phase == ENDED)
#define TRANSACTION_OPEN (HAND(0).phase == IN_TRANSACTION)
#define GOT(x) (x.got[0].token > 0 || x.got[1].token > 0)
#endif

/* A job is given that is in hand: the earlier claim was lost, and the worker does not know that yet. */
inline lose_earlier(j) {
#ifdef KEEPS_WHAT_IT_IS_GIVEN_AGAIN
    NEVER(taken_twice, HAND(j).phase != NOTHING)
#else
    drop(j)
#endif
}

/* The answer is here: report what was settled, and start what came. What came under an earlier name is left to the
 * rescuers, or this worker could be given the same job once more while it runs.
 */
#ifdef TAKES_UNDER_AN_EARLIER_NAME
#define STILL_CALLED(whose) true
#else
#define STILL_CALLED(whose) (whose == name[w])
#endif

inline take(x) {
    for (i : 0 .. JOBS - 1) {
        if
        :: x.refused[i] && x.settle[i].completed -> report(x, i)
        :: else
        fi;
        if
        :: x.got[i].token > 0 && STILL_CALLED(x.name) ->
            lose_earlier(i);
            HAND(i).phase = AT_WORK;
            copy(HAND(i).end.claim, x.got[i]);
            promised(i)
        :: else
        fi
    }
    clear(x)
}

/* A completion was refused as a failure: it is reported as a success, if a look at the job says so. Another owner is a
 * reason to refuse, too.
 */
#define SUCCEEDED_BY(j, c) (job[j].state == SUCCEEDED && SAME(job[j].claim, c))
#ifdef REPORTS_WITHOUT_A_LOOK
#define LOOK(j, c) true
#else
#define LOOK(j, c) SUCCEEDED_BY(j, c)
#endif

inline report(x, j) {
    if
    :: LOOK(j, x.settle[j].claim) -> NEVER(false_report, !SUCCEEDED_BY(j, x.settle[j].claim))
    :: else
    fi
}

/* The second question of `recover`: what of it was written (`lifecycle.applied`). */
inline forget_applied(x) {
    for (i : 0 .. JOBS - 1) {
        if
        :: x.settle[i].verb != NONE && SAME(job[i].claim, x.settle[i].claim) && job[i].state == BECOMES(x.settle[i]) ->
            forget_settlement(x.settle[i])
        :: else
        fi
    }
    i = 0
}

/* The first question of `recover`: what runs under the name of the worker, and is not known to it. */
inline ask_held(x) {
    for (i : 0 .. JOBS - 1) {
        if
        :: job[i].state == RUNNING && job[i].claim.name == x.name && !KNOWN(x, i) -> copy(x.got[i], job[i].claim)
        :: else
        fi
    }
    i = 0
}

/* No answer came, or none that can be read: the request is lost, or is on its way, or was carried out. */
inline give_up(x) {
    if
    :: x.wire == SENT && late[w].wire == IDLE ->
        late[w].wire = SENT;
        late[w].name = x.name;
        late[w].claims = x.claims;
        for (i : 0 .. JOBS - 1) {
            late[w].settle[i].verb = x.settle[i].verb;
            late[w].settle[i].completed = x.settle[i].completed;
            copy(late[w].settle[i].claim, x.settle[i].claim)
        }
    :: else
    fi;
    for (i : 0 .. JOBS - 1) {
        x.refused[i] = false;
        forget(x.got[i])
    }
    i = 0
}

/* The lease has gone to others, or the process is a new one: what was in hand is not known any more. */
inline begin_anew() {
    for (i : 0 .. JOBS - 1) {
        drop(i)
    }
    i = 0;
    name[w] = name[w] + WORKERS;
    live[w] = true
}

inline die(lets_go) {
    for (i : 0 .. JOBS - 1) {
        if
        :: WORKS(w, i) && HOLDS(i, HAND(i).end.claim) ->
            killed[i]++;
            killed_at[i] = HAND(i).end.claim.token
        :: else
        fi;
        if
        :: HAND(i).phase == IN_TRANSACTION && lets_go -> job[i].locked = false
        :: else
        fi
    }
    give_up(exchange[w]);
    clear(exchange[w]);
    doubt[w] = false;
    begin_anew();
    promised(0)
}

/* The task has returned. Whether its transaction was committed only the database knows. */
inline task_returned() {
#if defined(COMPLETION_SETTLED_AS_SUCCEEDED)
    ended(0, SUCCEED, true)
#elif defined(COMPLETION_NOT_SETTLED)
    drop(0)
#else
    ended(0, FAIL, true)
#endif
}

#ifdef COMPLETION_DOES_NOT_LOCK
#define LOCKS false
#else
#define LOCKS true
#endif

proctype Worker(byte w) {
end:
    do
    /* The heartbeat. (While a transaction is open: before or after, its lock makes no difference.) */
#ifdef LATE_BEAT_BRINGS_LEASE_BACK
    :: /* beats, and its lease is back */ d_step { !live[w] -> live[w] = true }
#else
    :: /* beats, learns that it lost its lease, and begins anew */ d_step { !live[w] && !TRANSACTION_OPEN -> begin_anew() }
#endif
#ifdef FIRST_BEAT_SENT_AGAIN_UNDER_ONE_NAME
    :: /* its first beat arrives once more, late */ d_step { faults > 0 && !live[w] -> faults--; live[w] = true }
#endif

    /* The tasks. */
#ifdef COMPLETION_OUTSIDE_TRANSACTION
    :: /* commits the effect of job 0, which returns */ d_step { HAND(0).phase == AT_WORK ->
        effects++;
        ended(0, SUCCEED, false);
        promised(0)
      }
#else
    :: /* completes job 0 in a transaction */ d_step { HAND(0).phase == AT_WORK && HOLDS(0, HAND(0).end.claim) ->
        job[0].locked = LOCKS;
        HAND(0).phase = IN_TRANSACTION
      }
    :: /* commits it, and the task returns */ d_step { HAND(0).phase == IN_TRANSACTION ->
        job[0].locked = false;
        settled_at[0] = HAND(0).end.claim.token;
        job[0].state = SUCCEEDED;
        effects++;
        task_returned();
        promised(0)
      }
    :: /* rolls it back, and the task returns */ d_step { HAND(0).phase == IN_TRANSACTION ->
        job[0].locked = false;
        task_returned()
      }
#endif
    :: /* job 0 raises */ d_step { HAND(0).phase == AT_WORK -> ended(0, FAIL, false) }
#if JOBS > 1
    :: /* job 1 returns */ d_step { HAND(1).phase == AT_WORK -> ended(1, SUCCEED, false) }
    :: /* job 1 raises */ d_step { HAND(1).phase == AT_WORK -> ended(1, FAIL, false) }
#endif

    /* The exchange. */
    :: /* sends an exchange */ atomic { exchange[w].wire == IDLE && (SOMETHING_ENDED || (live[w] && WORK)) ->
        if
        :: SOMETHING_ENDED
        :: live[w] -> exchange[w].claims = true
        fi;
        d_step {
            gather(exchange[w]);
            exchange[w].wire = SENT
        }
      }
    :: /* takes the answer */ d_step { exchange[w].wire == ANSWERED -> take(exchange[w]) }

    /* When there is no answer. */
#ifdef NO_RECOVER
    :: /* sends it again */ d_step { exchange[w].wire == UNKNOWN -> exchange[w].wire = SENT }
#else
    :: /* asks what it holds */ d_step { exchange[w].wire == UNKNOWN ->
        ask_held(exchange[w]);
        exchange[w].wire = ASKED
      }
    :: /* asks what was settled, and sends the rest */ d_step { exchange[w].wire == ASKED ->
        forget_applied(exchange[w]);
        exchange[w].claims = exchange[w].claims && !GOT(exchange[w]);
        exchange[w].wire = SENT
      }
#ifndef NO_SECOND_LOOK
    :: /* looks again */ d_step { doubt[w] && exchange[w].wire == IDLE && late[w].wire == IDLE ->
        doubt[w] = false;
        gather(exchange[w]);
        exchange[w].wire = UNKNOWN
      }
#endif
#endif

    /* The faults. */
    :: /* gets no answer */ d_step { faults > 0 && (exchange[w].wire == SENT || exchange[w].wire == ANSWERED) ->
        faults--;
        give_up(exchange[w]);
        exchange[w].wire = UNKNOWN;
        doubt[w] = true
      }
    :: /* its lease ends */ d_step { faults > 0 && live[w] -> faults--; live[w] = false }
    :: /* dies, and is started again */ d_step { faults > 0 -> faults--; die(true) }
    :: /* is lost, and its connection is not noticed to be dead */ d_step { faults > 0 && TRANSACTION_OPEN ->
        faults--;
        die(false)
      }
    :: /* gives job 0 back */ d_step { faults > 0 && HAND(0).phase == AT_WORK -> faults--; ended(0, RELEASE, false) }
    :: /* job 0 kills a process of its own */ d_step { faults > 0 && HAND(0).phase == AT_WORK ->
        faults--;
        ended(0, CRASH, false)
      }
#if JOBS > 1
    :: /* gives job 1 back */ d_step { faults > 0 && HAND(1).phase == AT_WORK -> faults--; ended(1, RELEASE, false) }
#endif
    od
}

init {
    byte n;
    atomic {
        for (n : 0 .. JOBS - 1) {
            job[n].state = QUEUED
        }
        for (n : 0 .. WORKERS - 1) {
            name[n] = n;
            live[n] = true;
            clear(exchange[n]);
            clear(late[n]);
            for (i : 0 .. JOBS - 1) {
                desk[n].hand[i].phase = NOTHING;
                desk[n].hand[i].end.verb = NONE
            }
            i = 0
        }
        for (n : 0 .. WORKERS - 1) {
            run Store(n);
            run Worker(n)
        }
        n = 0;
        run Stage();
        run Rescue()
#if RESCUERS > 1
        ;
        run Rescue()
#endif
    }
    timeout ->
#if JOBS == 1
    NEVER(job_lost, !FINAL(0) && !job[0].locked)
#else
    NEVER(job_lost, (!FINAL(0) && !job[0].locked) || !FINAL(1))
#endif
}
