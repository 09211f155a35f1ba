/* Sleeping and waking on a lane, and leaving it: the consumer must not sleep for ever while there is something to read, and a lane that is
   closed must be drained and left. Each step below is one atomic access of src/bus/lane.c; memory is sequentially consistent, as the
   fences there make it between the index and the flag. Checked: no invalid end state (somebody sleeps for ever), every item consumed.
   The sleeper's timeout is not modelled: the protocol has to do without it. */
#define ITEMS 3

byte published = 0;  /* the write index */
bit sleeper = 0;
byte word = 0;       /* the futex word */
bit closed = 0;
byte consumed = 0;
byte seen;

proctype producer() {
    byte i = 0;
    do
    :: i < ITEMS ->
        published++;
        i++;
        /* hyp_lane_flush: the fence, then the look at the sleeper */
#ifndef NO_LOOK
        if
        :: sleeper -> word++   /* and wakes whoever waits for the old value */
        :: else
        fi;
#endif
        if
        :: true                            /* goes on at once */
        :: true -> (consumed == published) /* or waits for an answer, so that a missed waking stops both */
        fi
    :: else -> break
    od;
    closed = 1;                /* hyp_lane_close wakes without looking */
    word++
}

proctype consumer() {
    do
    :: published > consumed -> consumed++
    :: else ->
        /* hyp_lane_sleep */
#ifdef LATE_SEEN
        sleeper = 1;
        if
        :: published > consumed -> goto awake
        :: else
        fi;
        if
        :: closed -> goto shut
        :: else
        fi;
        seen = word;
#else
        seen = word;
        sleeper = 1;
        if
        :: published > consumed -> goto awake
        :: else
        fi;
        if
        :: closed -> goto shut
        :: else
        fi;
#endif
        (word != seen);        /* futex: blocks while the word is what was seen */
awake:
        sleeper = 0
    od;
shut:
    sleeper = 0;
    /* what was published before the closing is still there */
    do
    :: published > consumed -> consumed++
    :: else -> break
    od;
    assert(consumed == ITEMS)
}

init {
    atomic {
        run producer();
        run consumer()
    }
}
