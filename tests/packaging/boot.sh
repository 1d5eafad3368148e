# Boot systemd in an overlay over this machine, with the package installed, and run check.sh there. Arguments: a folder
# for the overlay, the package, a folder for what is said. Run in mount, PID, cgroup and network namespaces of its own.
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
root="$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mkdir "$root/said"
mount --bind "$3" "$root/said"
cp "$2" "$root/tmp/domsec.deb"
ip link set lo up
chroot "$root" /bin/sh -e << 'END'
dpkg -i /tmp/domsec.deb > /dev/null
cd /etc/domsec
mkdir roles
domsec cert issue --ca-name "acme.example CA" -o ca.pem --certificate roles/ca.pem 2> /dev/null
mkdir signing
domsec cert issue --ca ca.pem --role signing --domain acme.example -o signing.pem --certificate signing/one.crt 2> /dev/null
mv signing.pem /etc/domsec-keyd/
cat > /etc/domsec-keyd/keyd.toml << 'TOML'
domains = ["acme.example"]
[keyd]
group = "domsec"
clients = ["domsec"]
[keys.signing]
credential = "signing.pem"
TOML
chown -R domsec-keyd: /etc/domsec-keyd
chmod 600 /etc/domsec-keyd/*
cat > domsec.toml << 'TOML'
domains = ["acme.example"]
[listen]
outbound = "lmtp:unix:/run/domsec/outbound.sock"
workers = 1
[next_hop]
outbound = "smtp:127.0.0.1:2525"
[keys.signing]
credential = "keyd:signing"
certificates = "signing"
[trust]
roles = ["roles"]
[outbound]
encrypt = "no"
[[outbound.evidence]]
kind = "network"
networks = ["unix"]
[[peer]]
domain = "beta.example"
[store]
url = "sqlite:////var/lib/domsec/domsec.db"
TOML
chown -R root:domsec .
chmod 640 domsec.toml
rm ca.pem

for unit in domsec domsec-keyd; do # nobody keeps a journal here
    mkdir -p /etc/systemd/system/$unit.service.d
    printf '[Service]\nStandardError=append:/said/%s\n' $unit > /etc/systemd/system/$unit.service.d/log.conf
done
mkdir -m 777 /delivered
cat > /etc/systemd/system/next-hop.service << 'UNIT'
[Service]
WorkingDirectory=/delivered
ExecStart=/usr/sbin/smtp-sink -u nobody -D message 127.0.0.1:2525 10
UNIT

cat > /etc/systemd/system/check.service << 'UNIT'
[Unit]
Wants=domsec-keyd.service domsec.service next-hop.service
After=domsec-keyd.service domsec.service next-hop.service
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/sh /check.sh
UNIT
cat > /check.sh << 'SH'
exec > /said/words 2>&1
about() { systemctl show --value -p "$1" domsec; }
until_active() { for _ in $(seq 300); do [ "$(systemctl is-active domsec)" = active ] && return; sleep 0.1; done; }

echo "started: $(about ActiveState), $(about Type), as $(ps -o user= -p $(about MainPID))"
smtp-source -L -m 1 -f alice@acme.example -t bob@beta.example unix:/run/domsec/outbound.sock && echo "sent: yes"
echo "signed: $(grep -c smime-type=signed-data /delivered/message)"
before=$(about MainPID)
systemctl reload domsec && [ "$(about MainPID)" = "$before" ] && echo "reloaded: the same process"
echo 'domains = 1' > /etc/domsec/broken
cp -p /etc/domsec/domsec.toml /etc/domsec/good
cat /etc/domsec/broken > /etc/domsec/domsec.toml
systemctl reload domsec 2> /dev/null || echo "wrong configuration: refused, $(about ActiveState)"
cat /etc/domsec/good > /etc/domsec/domsec.toml
systemctl kill -s KILL --kill-who=main domsec
sleep 1
until_active
[ "$(about MainPID)" != "$before" ] && echo "killed: $(about ActiveState) again"
smtp-source -L -m 1 -f alice@acme.example -t bob@beta.example unix:/run/domsec/outbound.sock && echo "sent again: yes"
systemctl kill -s KILL --kill-who=main domsec-keyd
sleep 4
smtp-source -L -m 1 -f alice@acme.example -t bob@beta.example unix:/run/domsec/outbound.sock && echo "key process killed: sent again"
echo "keys: $(systemctl is-active domsec-keyd), as $(ps -o user= -p $(systemctl show --value -p MainPID domsec-keyd))"
systemd-analyze security domsec --no-pager | tail -n 1
systemd-analyze security domsec-keyd --no-pager | tail -n 1
systemctl stop domsec && echo "stopped: $(about Result)"
SH
END
export container=domsec-test
exec chroot "$root" /lib/systemd/systemd --system --unit=check.service --log-target=null --show-status=0
