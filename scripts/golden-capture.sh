# Runs inside the guest, in front of the generated list of steps; the result is a tar archive on standard output.
# $job is the folder with the standard input of each step.
exec 3>&1 >/dev/null 2>&1
cd "$(mktemp -d)" || exit 1

# An empty table and the kernel's default timeouts.
fresh() {
  ipvsadm -C
  ipvsadm --set 900 120 300
}

# What the kernel holds of what a listing shows: its connection table, or numbers exact and in the kernel's order.
snapshot() {
  local part
  for part in $parts; do
    case $part in
      connections) cat /proc/net/ip_vs_conn ;;
      stats) ipvsadm -Ln --stats --exact --nosort ;;
      rates) ipvsadm -Ln --rate --exact --nosort ;;
      persistent) ipvsadm -Ln --persistent-conn --nosort ;;
    esac >"$1.$part"
  done
}

# step NAME COMMAND...
step() {
  local name=$1
  shift
  "$@" <"$job/$name.stdin" >"$name.stdout" 2>"$name.stderr"
  echo $? >"$name.status"
}

# observe PARTS NAME COMMAND...: like step, and keeps what the kernel held; repeated until nothing moved while the
# command ran.
observe() {
  local parts=$1 name=$2 part try
  shift
  for try in {1..100}; do
    snapshot "$name"
    step "$@"
    snapshot after
    for part in $parts; do [[ $(<"$name.$part") == "$(<"after.$part")" ]] || continue 2; done
    return
  done
  echo "never quiet" >"$name.status"
}
