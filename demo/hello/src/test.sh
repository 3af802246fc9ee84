# test.sh PROGRAM: the program greets everyone, once.
set -eu
echo Ada >/tmp/names
echo Grace >>/tmp/names
lines=$("$1" /tmp/names | wc -l)
[ "$lines" -eq 2 ] || { echo "expected 2 lines, got $lines" >&2; exit 1; }
echo "2 of 2 greeted"
