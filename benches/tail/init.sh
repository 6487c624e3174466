#!/bin/busybox sh
# The first process in the machine of `cargo xtask bench tail-counted`: starts the servers, measures what /plan lists, and ends
# the machine. What it prints goes out over the serial line.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ip link set lo up

# Also from where the output goes to a file.
end() {
    echo "$1" >/dev/console
    poweroff -f
}

claviger serve --data-dir /data --port-offset @OFFSET@ >/tmp/out 2>/tmp/log &
hyper-hello 127.0.0.1:@BARE@ 1 13 &
tries=0
until grep -qs 'is ready' /tmp/out; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { tail -n 15 /tmp/log; end 'the server did not become ready'; }
    sleep 0.1
done

run=0
# steady PORT PER_SECOND SECONDS: one run, whose numbers no other has.
steady() {
    run=$((run + 1))
    RUN="counted$run" steady-rate "$1" "$2" "$3" @CONNECTIONS@ || end "steady-rate $* failed"
}

# measure NAME PORT: 1,000 calls as fast as can be, twice, of which the second is what the server can do; then rounds at 70 % of it,
# each followed by one of the bare responder. The request is in the environment.
measure() {
    steady "$2" 100000 0.01 >/tmp/warm
    steady "$2" 100000 0.01 >/tmp/full
    grep -q ' bad=0$' /tmp/full || end "unexpected answers: $(cat /tmp/full)"
    full=$(sed -n 's/.* per_second=\([0-9]*\).*/\1/p' /tmp/full)
    rate=$((full * 7 / 10))
    [ "$rate" -gt 0 ] || end "no rate: $(cat /tmp/full)"
    echo "@@ $1 full $full $rate"
    for round in $(seq @ROUNDS@); do
        steady "$2" "$rate" @SECONDS@ >/tmp/round
        sed "s/^/@@ $1 ours /" /tmp/round
        EXPECT=x steady @BARE@ "$rate" @SECONDS@ >/tmp/round
        sed "s/^/@@ $1 bare /" /tmp/round
    done
}

# What the firmware printed ends in no line.
echo
. /plan
end '@@ done'
