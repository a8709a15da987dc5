# The processes of deploy/launch: started in groups of their own, their lines marked, ended together. Read by ../launch.
#
# Three things see to it that nothing is left behind. Every process begins as the leader of a process group, so what it
# has started itself is ended with it. The kernel sends it TERM when the launcher dies (setpriv --pdeathsig). And the
# guard, a small process that reads a pipe whose other end only the launcher holds, ends the groups when that end closes.

declare -A pid_of=() readers_of=() # by name, "worker-3"
name_of=()                         # by pid
pause_fd='' guard_fd='' guard_pid='' patience=0

say() { printf 'launch: %s\n' "$1" >&"$terminal_fd"; }

# Sleeps without a process: nobody ever writes there.
pause() { read -r -t "$1" -u "$pause_fd" || true; }

close_own_files() { exec {guard_fd}>&- {pause_fd}>&- {terminal_fd}>&-; }

# Signals for the launcher's group are not for helpers: they live until what they read from has ended.
ignore_signals() { trap '' INT TERM HUP QUIT; }

# Reads "add PID" and "del PID"; at the pipe's end, ends the groups that are left and removes the folder.
guard() {
    local verb pid turn left=()
    ignore_signals
    while read -r verb pid; do
        if [[ $verb == add ]]; then left[pid]=-$pid; else unset "left[pid]"; fi
    done
    if ((${#left[@]})); then
        kill -TERM -- "${left[@]}"
        for ((turn = 0; turn < 75; turn++)); do
            kill -0 -- "${left[@]}" || break
            pause 0.02
        done
        kill -KILL -- "${left[@]}"
    fi
    rm -rf -- "$run_dir"
}

start_helpers() {
    mkfifo -m 600 "$run_dir/guard" "$run_dir/pause"
    exec {pause_fd}<>"$run_dir/pause"
    guard <"$run_dir/guard" >/dev/null 2>&1 {terminal_fd}>&- &
    guard_pid=$!
    exec {guard_fd}>"$run_dir/guard"
    rm -f -- "$run_dir/guard" "$run_dir/pause"
}

# show NAME LOG: marks each line of stdin with its owner's name. A line goes out in one write, so lines of several
# processes do not mix; one too long for that becomes several. LOG, if not empty, gets the lines as they are.
show() {
    local room=3900
    [[ -t 1 ]] && room=900
    ignore_signals
    close_own_files
    [[ $2 ]] && exec < <(exec tee -a -- "$2")
    exec < <(exec stdbuf -oL fold -b -w "$room")
    # G;P instead of p: ends the line even where its writer has not.
    LC_ALL=C exec stdbuf -oL sed -n "s/^/$1 | /;G;P"
}

# log_of NAME STREAM: where its lines are kept; servers' messages always are, as their last words.
log_of() {
    if [[ $log_dir ]]; then
        REPLY=$log_dir/$1.$2
    elif [[ $1 == server-* && $2 == err ]]; then
        REPLY=$run_dir/$1.err
    else
        REPLY=''
    fi
}

# A pipe without a name: its two ends into read_fd and write_fd, which are to be closed.
open_pipe() {
    local hold_fd
    mkfifo -m 600 "$run_dir/pipe"
    exec {hold_fd}<>"$run_dir/pipe" # so that opening one end does not wait for the other
    exec {read_fd}<"$run_dir/pipe" {write_fd}>"$run_dir/pipe" {hold_fd}>&-
    rm -f -- "$run_dir/pipe"
}

# start NAME COMMAND...: with the variables in the array `environment`.
start() {
    local name=$1 read_fd write_fd out_fd err_fd readers
    shift
    open_pipe
    out_fd=$write_fd
    log_of "$name" out
    show "$name" "$REPLY" <&"$read_fd" 2>/dev/null {read_fd}<&- {out_fd}>&- &
    readers=$!
    exec {read_fd}<&-
    open_pipe
    err_fd=$write_fd
    log_of "$name" err
    show "$name" "$REPLY" <&"$read_fd" >&"$terminal_fd" 2>/dev/null {read_fd}<&- {out_fd}>&- {err_fd}>&- &
    readers="$readers $!"
    exec {read_fd}<&-
    set -m # a group of its own
    (
        echo "add $BASHPID" >&"$guard_fd"
        exec </dev/null >&"$out_fd" 2>&"$err_fd" {out_fd}>&- {err_fd}>&-
        close_own_files
        trap - PIPE
        export -- "${environment[@]}"
        exec setpriv --pdeathsig TERM -- "$@"
    ) &
    pid_of[$name]=$!
    name_of[$!]=$name
    set +m
    readers_of[$name]=$readers
    exec {out_fd}>&- {err_fd}>&-
}

# The process of that name has ended: ends what it left behind, lets its last lines through, forgets it. `patience` is
# how many times 10 ms are left to wait for somebody who has fled from the group and still holds the pipe.
forget() {
    local name=$1 pid=${pid_of[$1]} reader
    kill -TERM -- "-$pid" 2>/dev/null && pause 0.1
    kill -KILL -- "-$pid" 2>/dev/null
    echo "del $pid" >&"$guard_fd"
    for reader in ${readers_of[$name]}; do
        while kill -0 "$reader" 2>/dev/null && ((patience-- > 0)); do pause 0.01; done
        kill -KILL "$reader" 2>/dev/null
    done
    unset "pid_of[$name]" "readers_of[$name]" "name_of[$pid]"
}

# Sets ended_name if the shell has noticed that a process is gone.
find_ended() {
    local pid
    for pid in "${!name_of[@]}"; do
        kill -0 "$pid" 2>/dev/null && continue
        wait "$pid"
        ended_status=$?
        ended_name=${name_of[$pid]}
        return 0
    done
    return 1
}

# Waits until a process has ended, a signal has come, or a second is over. ended_name is empty unless a process has.
await_end() {
    local pid='' tick status
    ended_name='' ended_status=0
    find_ended && return
    # wait -n does not tell of a process whose end the shell noticed before, so it must come back now and then.
    sleep 1 {guard_fd}>&- {pause_fd}>&- {terminal_fd}>&- &
    tick=$!
    wait -n -p pid "${!name_of[@]}" "$tick"
    status=$?
    kill "$tick" 2>/dev/null
    if [[ ${pid:-} && $pid != "$tick" ]]; then
        ended_name=${name_of[$pid]} ended_status=$status
    fi
}

# signal_all SIGNAL PATTERN: to the groups of all processes whose name fits.
signal_all() {
    local name
    for name in "${!pid_of[@]}"; do
        # shellcheck disable=SC2053
        [[ $name == $2 ]] && kill "-$1" -- "-${pid_of[$name]}" 2>/dev/null
    done
}

# gone_within TURNS PATTERN: waits 20 ms a turn until the groups have gone. False: some are left, or the user is impatient.
gone_within() {
    local turn name left
    for ((turn = 0; turn < $1; turn++)); do
        left=''
        for name in "${!pid_of[@]}"; do
            # shellcheck disable=SC2053
            [[ $name == $2 ]] && kill -0 -- "-${pid_of[$name]}" 2>/dev/null && left=yes
        done
        [[ $left ]] || return 0
        ((signal_count > 1)) && return 1
        pause 0.02
    done
    return 1
}

# Ends everything within 2 s: workers first, so that they can take their leave of the servers.
end_all() {
    local signal=$1 name
    signal_all "$signal" 'worker-*'
    gone_within 40 'worker-*'
    signal_all "$signal" 'server-*'
    gone_within 25 '*' || signal_all KILL '*'
    gone_within 10 '*'
    patience=20
    for name in "${!pid_of[@]}"; do forget "$name"; done
}
