# The options of deploy/launch: table, help, parser. Read by ../launch.

options_with_value=(servers workers env max-restarts port transport log-dir print-address job join-timeout
    restart-timeout)
options_without_value=(keep dry-run help version)

# Where the parser puts them. What stands here is the default.
server_count=1 worker_count=1 max_restarts=0 port='' transport=tcp log_dir='' print_address=''
job=default join_timeout=60s restart_timeout='' keep='' dry_run=''
extra_environment=()
worker_command=()

print_help() {
    cat <<HELP
usage: launch [-s SERVERS] [-n WORKERS] [options] -- COMMAND [ARGS]
Runs a cluster on this machine: SERVERS times paramd, and COMMAND once for each worker, which
finds its place in the cluster in its environment. Lines are marked with whose they are.

The cluster
  -s, --servers N           servers (1)
  -n, --workers N           workers (1)
      --job NAME            name of the job: letters, digits, _ . - (default)
      --env K=V             set in the environment of every process; may be repeated
      --transport tcp|unix  loopback TCP, or Unix sockets in a private folder (tcp)
      --port PORT           of the first server (a free one)
When something goes wrong
      --max-restarts N      times that a worker killed by a signal is started again (0)
      --join-timeout TIME   for everybody to be there (60s)
      --restart-timeout TIME  for a lost worker to come back (60s)
      --keep                leave the servers running after the workers, until Ctrl-C or
                            paramctl shutdown
What it writes
      --log-dir DIR         also NAME.out and NAME.err of every process, without marks
      --print-address FILE  the coordinator's address, once it is known
      --dry-run             print what would be run, and run nothing
  -h, --help  --version

TIME is a number with ms, s, m or h; without one it is seconds.
exit code: 0, or that of the first process that failed for good (128 + N: killed by signal N);
2 wrong use, 130 and 143 after Ctrl-C and TERM.

  deploy/launch -s 2 -n 4 -- build/paramd-worker --model m.json --train data.csv --epochs 10
HELP
}

wrong_use() {
    printf 'launch: %s\n' "$1" >&2
    exit 2
}

# Edits (insert, drop, replace a letter) that make one word of the other; into REPLY.
distance() {
    local a=$1 b=$2 i j cost above corner
    local -a row=()
    for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
    for ((i = 1; i <= ${#a}; i++)); do
        corner=${row[0]} row[0]=$i
        for ((j = 1; j <= ${#b}; j++)); do
            above=${row[j]}
            [[ ${a:i-1:1} == "${b:j-1:1}" ]] && cost=0 || cost=1
            row[j]=$((corner + cost))
            ((above + 1 < row[j])) && row[j]=$((above + 1))
            ((row[j - 1] + 1 < row[j])) && row[j]=$((row[j - 1] + 1))
            corner=$above
        done
    done
    REPLY=${row[${#b}]}
}

unknown_option() {
    local word=$1 name=${1#--} option best='' least=1000
    name=${name%%=*}
    for option in "${options_with_value[@]}" "${options_without_value[@]}"; do
        distance "$name" "$option"
        ((REPLY < least)) && least=$REPLY best=$option
    done
    if ((${#name} > 1 && least * 3 <= ${#name} + 1)); then
        wrong_use "unknown option '$word': did you mean --$best?"
    fi
    wrong_use "unknown option '$word'; launch --help lists them all"
}

is_one_of() {
    local word=$1 other
    shift
    for other in "$@"; do [[ $word == "$other" ]] && return 0; done
    return 1
}

# check_number OPTION VALUE MIN MAX
check_number() {
    [[ $2 =~ ^[0-9]{1,9}$ ]] && ((10#$2 >= $3 && 10#$2 <= $4)) ||
        wrong_use "--$1 '$2': a number from $3 to $4 is needed"
}

check_time() {
    [[ $2 =~ ^[0-9]+(\.[0-9]+)?(ms|s|m|h)?$ ]] || wrong_use "--$1 '$2': a time such as 30s, 500ms or 2m is needed"
}

set_option() {
    local name=$1 value=$2
    [[ $value ]] || wrong_use "--$name: its value is empty"
    case $name in
    servers) check_number "$name" "$value" 1 240 && server_count=$((10#$value)) ;;
    workers) check_number "$name" "$value" 1 1024 && worker_count=$((10#$value)) ;;
    max-restarts) check_number "$name" "$value" 0 1000000 && max_restarts=$((10#$value)) ;;
    port) check_number "$name" "$value" 1 65535 && port=$((10#$value)) ;;
    env)
        [[ $value =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || wrong_use "--env '$value': NAME=VALUE is needed"
        extra_environment+=("$value")
        ;;
    transport)
        is_one_of "$value" tcp unix || wrong_use "--transport '$value': tcp or unix is needed"
        transport=$value
        ;;
    job)
        [[ $value =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$ ]] ||
            wrong_use "--job '$value': 1 to 64 letters, digits, _ . - are needed"
        job=$value
        ;;
    join-timeout) check_time "$name" "$value" && join_timeout=$value ;;
    restart-timeout) check_time "$name" "$value" && restart_timeout=$value ;;
    log-dir) log_dir=$value ;;
    print-address) print_address=$value ;;
    esac
}

set_flag() {
    case $1 in
    keep) keep=yes ;;
    dry-run) dry_run=yes ;;
    help)
        print_help
        exit 0
        ;;
    version)
        find_paramd
        printf 'launch (%s)\n' "$("$paramd" --version)"
        exit 0
        ;;
    esac
}

# The first word that belongs to no option begins COMMAND, with or without a -- before it.
parse_options() {
    local word name value
    while (($#)); do
        word=$1
        shift
        case $word in
        --)
            worker_command=("$@")
            break
            ;;
        -h) word=--help ;;
        -s | -n) word=$([[ $word == -s ]] && echo --servers || echo --workers) ;;
        -s?*) word=--servers=${word#-s} ;;
        -n?*) word=--workers=${word#-n} ;;
        --*) ;;
        -*) unknown_option "$word" ;;
        *)
            worker_command=("$word" "$@")
            break
            ;;
        esac
        name=${word#--} name=${name%%=*}
        if is_one_of "$name" "${options_without_value[@]}"; then
            [[ $word == *=* ]] && wrong_use "--$name takes no value"
            set_flag "$name"
        elif ! is_one_of "$name" "${options_with_value[@]}"; then
            unknown_option "$word"
        elif [[ $word == *=* ]]; then
            set_option "$name" "${word#*=}"
        else
            (($#)) || wrong_use "--$name needs a value"
            value=$1
            shift
            set_option "$name" "$value"
        fi
    done
    ((${#worker_command[@]})) || wrong_use "no COMMAND for the workers; write it at the end, after --"
    [[ $port && $transport == unix ]] && wrong_use "--port is for --transport tcp"
    return 0
}
