#!/bin/sh
# manners.sh PROGRAM MODEL LIBRARY: what the system sees of a silent program that uses the library. Exit status 77: skipped.
set -eu
program=$1 model=$2 library=$3
log=$(mktemp) && trap 'rm -f "$log"' EXIT
failed=0
fail() {
    echo "$1" >&2
    failed=1
}

others=$(ldd "$library" | grep -vE '^\s*(linux-vdso|libc\.so|libm\.so|libgcc_s\.so|/lib.*/ld-linux|libpthread\.so|libdl\.so)' || true)
[ -z "$others" ] || fail "needs more than the system: $others"

# Without any environment, and on the first look without a tracer, which not every machine allows.
env -i "$program" "$model" || fail "status $? without an environment"
if ! strace -f -qq -o "$log" true 2> /dev/null; then
    echo "skipped: no strace, or not allowed" >&2
    [ "$failed" = 0 ] && exit 77 || exit 1
fi
env -i "$(command -v strace)" -f -qq -e trace=write,writev,pwrite64,rt_sigaction,signalfd4,execve,socket,connect,prctl \
    -o "$log" "$program" "$model" || fail "status $? under strace"
grep -q execve "$log" || fail "nothing was traced"
! grep -E 'write[^(]*\((1|2),' "$log" >&2 || fail "wrote to standard output or error"
# The C library handles two real-time signals for the threads of any program.
! grep 'rt_sigaction(' "$log" | grep -vE 'SIGRT_[0-9]+,' >&2 || fail "handles signals"
! grep -E '(socket|connect|signalfd4)\(' "$log" >&2 || fail "talks to others"
[ "$(grep -c execve "$log")" = 1 ] || fail "starts programs"
exit $failed
