# check.sh ORDERS RULES: holds every order against the rules; ends with 1 if one breaks them.
set -eu
bad=0
checked=0
while IFS=, read -r order country amount; do
  [ "$order" != order ] || continue
  checked=$((checked + 1))
  grep -qx "known country $country" "$2" || { echo "order $order: $country is not a known country"; bad=1; }
  [ "$amount" -gt 0 ] || { echo "order $order: the amount is not positive"; bad=1; }
done <"$1"
echo "$checked orders checked, level ${LEVEL:-none}"
exit $bad
