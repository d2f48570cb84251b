#!/usr/bin/env bash
# A Slurm of one node on the loopback interface, without systemd: slurm.sh start DIR, slurm.sh stop DIR. As root, with
# Debian's slurm-wlm and munge installed. DIR holds its configuration, state and logs; export SLURM_CONF=DIR/slurm.conf.
# Its ports are free ones, so that two can run on a machine. A requeued job waits until its credential has expired, and
# one that begins earlier may be refused by its node and fails: the credential lasts 10 s here instead of 120 s.
set -euo pipefail
what=$1 dir=$(realpath "$2")
export SLURM_CONF=$dir/slurm.conf
if [ "$what" = stop ]; then
  scancel --state=RUNNING --state=PENDING --user="$(id -un)" 2>/dev/null || true
  for name in slurmd slurmctld; do [ -f "$dir/$name.pid" ] && kill "$(cat "$dir/$name.pid")" 2>/dev/null || true; done
  exit 0
fi
mkdir -p "$dir/state" "$dir/spool"
ports=$(python3 -c '
import socket
both = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in both))')
if ! pgrep -x munged >/dev/null; then
  install -d -o munge -g munge -m 0755 /run/munge
  install -d -o munge -g munge -m 0711 /var/lib/munge
  install -d -o munge -g munge -m 0700 /var/log/munge
  setpriv --reuid=munge --regid=munge --init-groups /usr/sbin/munged
fi
cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=${ports% *}
SlurmdPort=${ports#* }
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=10
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
ReturnToService=2
SchedulerParameters=bf_interval=1,sched_min_interval=0
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=8000
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
CONF
slurmctld
slurmd -N localhost
for _ in $(seq 100); do sinfo -h -o %T 2>/dev/null | grep -q idle && exit 0; sleep 0.2; done
echo "the node did not become idle" >&2
exit 1
